"""Flawless and damaged, as vectors: from sentences or from learned prompts, cached per object."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ovperc.backbones.text_tower import TextTower
from ovperc.core.cache import RecentCache
from ovperc.tasks.anomaly.state_prompts import state_prompts

_OBJECTS_KEPT = 64


@dataclass(frozen=True)
class StateTexts:
    """One object, flawless and damaged, in the joint image-text space.

    Attributes:
        normal: ``(E,)`` float32 unit vector.
        abnormal: ``(E,)`` float32 unit vector.
        bank: ``(Q, E)`` float32 unit rows, one per sentence, normal ones first; empty for learned prompts.
    """

    normal: Tensor
    abnormal: Tensor
    bank: Tensor

    @property
    def direction(self) -> Tensor:
        """``w = t_a - t_n``, ``(E,)``: a softmax of two cosines at temperature ``tau`` is ``sigmoid(f . w / tau)``."""
        return self.abnormal - self.normal


class StateTextSource(ABC):
    """Makes :class:`StateTexts` of an object's name; the last objects stay in memory."""

    def __init__(self) -> None:
        self._kept: RecentCache[str, StateTexts] = RecentCache(_OBJECTS_KEPT)

    def __call__(self, object_name: str) -> StateTexts:
        """The two vectors of an object."""

        def make() -> StateTexts:
            with torch.inference_mode(False), torch.no_grad():
                return self.make(object_name)

        return self._kept.get(self.key(object_name), make)

    def key(self, object_name: str) -> str:
        """What the vectors depend on."""
        return object_name

    @abstractmethod
    def make(self, object_name: str) -> StateTexts:
        """Embeds the object."""


class ComposedTexts(StateTextSource):
    """Vectors of composed sentences.

    Args:
        tower: text tower of the image tower's model.
        prompts: name of a set, see :func:`ovperc.tasks.anomaly.state_prompts.state_prompts`.
        batch_size: sentences per forward pass.
    """

    def __init__(self, tower: TextTower, prompts: str, batch_size: int = 256) -> None:
        super().__init__()
        self.tower = tower
        self.prompts = prompts
        self.batch_size = batch_size
        state_prompts(prompts, "object")  # an unknown name is told at once

    def make(self, object_name: str) -> StateTexts:
        """See :class:`StateTextSource`.

        Raises:
            ValueError: an empty name, or one too long for the text tower.
        """
        prompts = state_prompts(self.prompts, object_name)
        normal, abnormal = (self._embed(sentences) for sentences in (prompts.normal, prompts.abnormal))
        sentences = F.normalize(torch.cat([normal, abnormal]), dim=-1)
        return StateTexts(_ensemble(normal, prompts.ensemble), _ensemble(abnormal, prompts.ensemble), sentences)

    def _embed(self, sentences: tuple[str, ...]) -> Tensor:
        unique = list(dict.fromkeys(sentences))
        tokens = self.tower.tokenize(unique).to(self.tower.device)
        rows = torch.cat([self.tower.encode_tokens(part).float() for part in tokens.split(self.batch_size)])
        place = {sentence: row for row, sentence in enumerate(unique)}
        return rows[torch.tensor([place[sentence] for sentence in sentences], device=rows.device)]


def _ensemble(rows: Tensor, rule: str) -> Tensor:
    return F.normalize((F.normalize(rows, dim=-1) if rule == "unit_mean" else rows).mean(dim=0), dim=-1)
