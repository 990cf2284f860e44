"""Scores of region embeddings: the cosine classifier and the fusion of two posteriors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ovperc.core.naming import suggest
from ovperc.core.structures import TextBank

BackgroundRow = Literal["learned", "zero", "none"]
FusionPolicy = Literal["text", "vlm", "fvlm", "fvit", "vild"]
_SMALLEST = 1e-12


@dataclass(frozen=True)
class RegionLogits:
    """Scores of regions before any softmax.

    Attributes:
        classes: ``(R, C)`` float32.
        background: ``(R,)`` float32; ``-inf`` without a background row.
    """

    classes: Tensor
    background: Tensor

    def probabilities(self) -> tuple[Tensor, Tensor]:
        """Softmax over classes and background: ``(R, C)`` and ``(R,)``."""
        joined = torch.cat([self.classes, self.background[:, None]], dim=1).float().softmax(dim=1)
        return joined[:, :-1], joined[:, -1]


def word_logits(embeddings: Tensor, bank: TextBank, scale: Tensor | float) -> Tensor:
    """``scale * cosine`` of the best prompt of each label, ``(R, E) -> (R, labels)`` float32.

    Args:
        embeddings: ``(R, E)``; normalised here.
        bank: text bank; the maximum over the prompts of a label is used.
        scale: inverse temperature.
    """
    cosines = F.normalize(embeddings.float(), dim=-1) @ bank.embeddings.float().T
    if not torch.equal(bank.owners, torch.arange(bank.num_classes, device=bank.owners.device)):
        best = cosines.new_full((len(cosines), bank.num_classes), -torch.inf)
        cosines = best.scatter_reduce(1, bank.owners.expand(len(cosines), -1), cosines, "amax", include_self=True)
    return scale * cosines


class TextClassifier(nn.Module):
    """``z = s * n(f) . [n(T); n(b)]``: the text bank is an input; only temperature and background are parameters.

    Args:
        embed_dim: channels ``E`` of the joint space.
        scale: inverse temperature at the start.
        learn_scale: whether it is trained (as a logarithm, so that it stays positive).
        background: ``learned`` row (ViLD, Gu et al., ICLR 2022; normalised at use), a ``zero`` row (Detic), or
            ``none``.
    """

    def __init__(
        self, embed_dim: int, scale: float = 50.0, learn_scale: bool = True, background: BackgroundRow = "learned"
    ) -> None:
        super().__init__()
        if background not in get_args(BackgroundRow):
            raise ValueError(f"unknown background {background!r}; {suggest(str(background), get_args(BackgroundRow))}")
        if scale <= 0:
            raise ValueError(f"scale must be positive; got {scale}")
        log_scale = torch.tensor(float(scale)).log()
        if learn_scale:
            self.log_scale = nn.Parameter(log_scale)
        else:
            self.register_buffer("log_scale", log_scale)
        self.kind = background
        self.background = nn.Parameter(torch.randn(embed_dim) * 0.01) if background == "learned" else None

    @property
    def scale(self) -> Tensor:
        """Inverse temperature, a scalar."""
        return self.log_scale.float().exp()

    def forward(self, embeddings: Tensor, bank: TextBank) -> RegionLogits:
        """Scores of regions.

        Args:
            embeddings: ``(R, E)``.
            bank: text bank; an explicit background (label 0) is merged with the background row.
        """
        unit = F.normalize(embeddings.float(), dim=-1)
        classes = word_logits(unit, bank, self.scale)
        if self.kind == "learned":
            background = self.scale * (unit @ F.normalize(self.background.float(), dim=0))
        else:
            background = classes.new_full((len(classes),), 0.0 if self.kind == "zero" else -torch.inf)
        return split_background(RegionLogits(classes, background), bank)


def split_background(logits: RegionLogits, bank: TextBank) -> RegionLogits:
    """Moves an explicit background, label 0 of the bank, to the background column."""
    if not bank.background.enabled:
        return logits
    return RegionLogits(logits.classes[:, 1:], torch.logaddexp(logits.background, logits.classes[:, 0]))


def fuse_scores(first: Tensor, second: Tensor, weight: Tensor | float) -> Tensor:
    """Weighted geometric mean ``first^(1 - w) * second^w``, in log space.

    Args:
        first: ``(R, C)`` probabilities.
        second: ``(R, C)`` probabilities.
        weight: weight of ``second``, a number or ``(C,)``, in ``[0, 1]``; 0 gives ``first`` and 1 ``second``.

    Raises:
        ValueError: a weight is outside ``[0, 1]``, or shapes differ.
    """
    if first.shape != second.shape:
        raise ValueError(f"posteriors must have one shape; got {tuple(first.shape)} and {tuple(second.shape)}")
    weight = torch.as_tensor(weight, dtype=torch.float32, device=first.device)
    if weight.numel() and not bool(((weight >= 0) & (weight <= 1)).all()):
        raise ValueError(f"weights of a fusion lie in [0, 1]; got {weight.min().item()}..{weight.max().item()}")
    logs = [posterior.float().clamp(min=_SMALLEST).log() for posterior in (first, second)]
    return torch.lerp(*logs, weight.expand_as(logs[0])).exp()


@dataclass(frozen=True)
class Fusion:
    """Fusion of the detector's posterior with a second one (frozen CLIP's, or ViLD's image branch).

    ``text`` and ``vlm`` use one of the two alone. ``fvlm`` (Kuo et al., ICLR 2023) fuses classes, keeps the
    detector's background and divides each row by its sum. ``fvit`` (Wu et al., ICLR 2024) does not renormalise, so that
    its background matters to no class. ``vild`` (Gu et al., ICLR 2022) drops the background
    after the softmax of the text branch, and takes the softmax of the image branch without one.

    Attributes:
        policy: one of the five.
        base: weight of the second posterior for classes seen in training.
        novel: weight for all other classes.
        scale: inverse temperature of the second posterior.
        objectness: exponent of the proposal's objectness in the final score (DITO uses 3; 0 leaves it out).
    """

    policy: FusionPolicy = "fvlm"
    base: float = 0.35
    novel: float = 0.65
    scale: float = 100.0
    objectness: float = 0.0

    def __post_init__(self) -> None:
        if self.policy not in get_args(FusionPolicy):
            raise ValueError(f"unknown policy {self.policy!r}; {suggest(str(self.policy), get_args(FusionPolicy))}")
        for name in ("base", "novel"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a weight in [0, 1]; got {getattr(self, name)}")
        if self.scale <= 0 or self.objectness < 0:
            raise ValueError(f"scale must be positive, objectness not negative; got {self.scale}, {self.objectness}")

    def weights(self, is_base: Sequence[bool], like: Tensor) -> Tensor:
        """Weight of the second posterior for each class, ``(C,)`` float32."""
        values = [self.base if known else self.novel for known in is_base]
        return torch.tensor(values, dtype=torch.float32, device=like.device)

    def __call__(self, text: RegionLogits | None, second: RegionLogits | None, is_base: Sequence[bool]) -> Tensor:
        """Scores ``(R, C)`` float32 of the classes, without background.

        Args:
            text: the detector's logits; may be None for ``vlm``.
            second: logits of the second posterior, background included; may be None for ``text``.
            is_base: ``(C,)``, whether each class was seen in training.

        Raises:
            ValueError: the policy needs a missing posterior.
        """
        missing = text is None if self.policy == "text" else second is None
        if missing or (text is None and self.policy != "vlm"):
            raise ValueError(f"the policy {self.policy!r} needs a posterior that this detector does not have")
        if self.policy == "text":
            return text.probabilities()[0]
        if self.policy == "vlm":
            return second.probabilities()[0]
        weights = self.weights(is_base, text.classes)
        ours, background = text.probabilities()
        if self.policy == "vild":
            return fuse_scores(ours, second.classes.float().softmax(dim=1), weights)
        fused = fuse_scores(ours, second.probabilities()[0], weights)
        if self.policy == "fvit":
            return fused
        return fused / (fused.sum(dim=1, keepdim=True) + background[:, None]).clamp(min=_SMALLEST)
