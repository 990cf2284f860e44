"""Text embeddings of the normal and the anomalous object, cached per object."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ovperc.backbones.text_tower import TextTower
from ovperc.core.cache import RecentCache
from ovperc.core.inference import own_precision
from ovperc.tasks.anomaly.state_prompts import state_prompts

_OBJECTS_KEPT = 64


@dataclass(frozen=True)
class StateTexts:
    """Embeddings of the normal and the anomalous object in the joint image-text space.

    Attributes:
        normal: ``(E,)`` float32 unit vector.
        anomalous: ``(E,)`` float32 unit vector.
        bank: ``(Q, E)`` float32 unit rows, one per prompt, normal ones first; empty for learned prompts.
    """

    normal: Tensor
    anomalous: Tensor
    bank: Tensor

    @property
    def direction(self) -> Tensor:
        """``w = t_a - t_n``, ``(E,)``: a softmax of two cosines at temperature ``tau`` is ``sigmoid(f . w / tau)``."""
        return self.anomalous - self.normal


class StateTextSource(ABC):
    """Computes :class:`StateTexts` for object names, with a cache of recent objects."""

    def __init__(self) -> None:
        self._kept: RecentCache[str, StateTexts] = RecentCache(_OBJECTS_KEPT)

    def __call__(self, object_name: str) -> StateTexts:
        """The text embeddings of an object."""

        def make() -> StateTexts:
            with own_precision(), torch.inference_mode(False), torch.no_grad():
                return self.make(object_name)

        return self._kept.get(self.key(object_name), make)

    def key(self, object_name: str) -> str:
        """Cache key of an object."""
        return object_name

    @abstractmethod
    def make(self, object_name: str) -> StateTexts:
        """Embeds the object."""


class ComposedTexts(StateTextSource):
    """Text embeddings of composed prompts.

    Args:
        tower: text tower that belongs to the image tower.
        prompts: name of a prompt set, see :func:`ovperc.tasks.anomaly.state_prompts.state_prompts`.
        batch_size: prompts per forward pass.
    """

    def __init__(self, tower: TextTower, prompts: str, batch_size: int = 256) -> None:
        super().__init__()
        self.tower = tower
        self.prompts = prompts
        self.batch_size = batch_size
        state_prompts(prompts, "object")  # fail early on an unknown set

    def make(self, object_name: str) -> StateTexts:
        """See :class:`StateTextSource`.

        Raises:
            ValueError: the name is empty, or too long for the text tower.
        """
        prompts = state_prompts(self.prompts, object_name)
        normal, anomalous = (self._embed(sentences) for sentences in (prompts.normal, prompts.anomalous))
        sentences = F.normalize(torch.cat([normal, anomalous]), dim=-1)
        return StateTexts(_ensemble(normal, prompts.ensemble), _ensemble(anomalous, prompts.ensemble), sentences)

    def _embed(self, sentences: tuple[str, ...]) -> Tensor:
        unique = list(dict.fromkeys(sentences))
        tokens = self.tower.tokenize(unique).to(self.tower.device)
        rows = torch.cat([self.tower.encode_tokens(part).float() for part in tokens.split(self.batch_size)])
        place = {sentence: row for row, sentence in enumerate(unique)}
        return rows[torch.tensor([place[sentence] for sentence in sentences], device=rows.device)]


def _ensemble(rows: Tensor, rule: str) -> Tensor:
    return F.normalize((F.normalize(rows, dim=-1) if rule == "unit_mean" else rows).mean(dim=0), dim=-1)
