"""Logit rules, which adjust patch scores by statistics over an image and its vocabulary.

With a logit rule the score of a class depends on the rest of the vocabulary by design.
A rule wraps :class:`PatchScores` and works through it in chunks of queries, so memory does not grow
with the vocabulary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ovperc.core.naming import suggest
from ovperc.core.structures import DenseEmbeddings, TextBank
from ovperc.registry import LOGIT_RULES
from ovperc.text.owners import max_by_owner_
from ovperc.text.patch_scores import CosineScores, PatchScores

_PRUNED = -100.0
_NORM_AXES = ("channel", "token")


class LogitRule(ABC):
    """Adjusts the patch scores of an image.

    Attributes:
        needs_keys: reads ``embeddings.keys``.
        needs_pooled: reads ``embeddings.pooled``.
    """

    needs_keys: bool = False
    needs_pooled: bool = False

    @abstractmethod
    def __call__(self, scores: PatchScores, embeddings: DenseEmbeddings, bank: TextBank) -> PatchScores:
        """Wraps ``scores``.

        Args:
            scores: of the image's tiles.
            embeddings: the same tiles, ``T`` of them, all of one image.
            bank: the text bank that was scored.
        """


class _Pruned(PatchScores):
    """Scores with those of some queries replaced by -100."""

    def __init__(self, scores: PatchScores, keep: Tensor) -> None:
        super().__init__(scores.num_queries, scores.chunk_queries)
        self._scores = scores
        self._keep = keep

    def compute(self, queries: slice) -> Tensor:
        return torch.where(self._keep[queries][:, None], self._scores.chunk(queries), _PRUNED)


@LOGIT_RULES.register_module()
class PromptDenoising(LogitRule):
    """MaskCLIP's prompt denoising (Zhou et al., ECCV 2022, section 3.3).

    A class whose best patch probability ``max_i softmax_q(100 l)`` over the image (all tiles)
    stays below the threshold gets the logit -100 everywhere. A class is as probable as its best prompt.
    If every class is pruned, all prompts tie and the lowest class wins, as in the released code.

    Args:
        threshold: probability in [0, 1]; the paper uses 0.5.
        scale: factor of the cosines inside the softmax.
    """

    def __init__(self, threshold: float = 0.5, scale: float = 100.0) -> None:
        self.threshold = _probability("threshold", threshold)
        self.scale = scale

    def __call__(self, scores: PatchScores, embeddings: DenseEmbeddings, bank: TextBank) -> PatchScores:
        peak, total = scores.softmax_parts(self.scale)
        best = [_softmax(part, self.scale, peak, total).amax(dim=(0, 2)) for _, part in scores.chunks()]
        probability = torch.cat(best)
        of_class = max_by_owner_(probability.new_zeros(bank.num_classes), probability, bank.owners)
        return _Pruned(scores, (of_class >= self.threshold)[bank.owners])


class _Smoothed(PatchScores):
    """Patch probabilities, smoothed over similar keys where they are uncertain."""

    probabilities = True

    def __init__(self, scores: PatchScores, keys: Tensor, threshold: float, scale: float) -> None:
        super().__init__(scores.num_queries, scores.chunk_queries)
        self._scores = scores
        self._keys = keys
        self._scale = scale
        self._peak, self._total = scores.softmax_parts(scale)
        self._unsure = 1 / self._total < threshold

    def compute(self, queries: slice) -> Tensor:
        probability = _softmax(self._scores.chunk(queries), self._scale, self._peak, self._total)
        # (K K^T) P as K (K^T P): the n x n similarity is never formed.
        spread = (probability @ self._keys) @ self._keys.transpose(1, 2)
        return torch.where(self._unsure[:, None], spread, probability)


@LOGIT_RULES.register_module()
class KeySmoothing(LogitRule):
    """MaskCLIP's key smoothing (Zhou et al., ECCV 2022, section 3.3).

    With ``P = softmax_q(100 l)`` and ``G`` the cosine similarity of the last block's keys within a
    tile, patches with ``max_q P`` below the threshold take ``G P`` (rows of ``G`` not normalised); the
    others keep ``P``. The result is probabilities: the classifier resizes them without another softmax,
    labels by the largest, and reports its share of the sum over all prompts as confidence.

    Args:
        threshold: probability in [0, 1]; the paper uses 1.0.
        norm_axis: ``channel`` for cosine similarity of patches, as the paper describes; ``token`` divides
            every channel by its norm over the patches, as the released code does.
        scale: factor of the cosines inside the softmax.
    """

    needs_keys = True

    def __init__(self, threshold: float = 1.0, norm_axis: str = "channel", scale: float = 100.0) -> None:
        if norm_axis not in _NORM_AXES:
            raise ValueError(f"unknown norm_axis {norm_axis!r}; {suggest(norm_axis, _NORM_AXES)}")
        self.threshold = _probability("threshold", threshold)
        self.norm_axis = norm_axis
        self.scale = scale

    def __call__(self, scores: PatchScores, embeddings: DenseEmbeddings, bank: TextBank) -> PatchScores:
        if embeddings.keys is None:
            raise ValueError("key smoothing needs the keys of the last block: DenseEmbeddings.keys is None")
        keys = F.normalize(embeddings.keys.float(), dim=-1 if self.norm_axis == "channel" else 1)
        return _Smoothed(scores, keys, self.threshold, self.scale)


@LOGIT_RULES.register_module()
class FeatureSurgery(LogitRule):
    """CLIP Surgery's removal of features common to all classes (Li et al., Pattern Recognition 2025, section 3.3).

    With ``w = softmax_t(2 cos(image, t)) / mean_t(...)``, the score of query ``t`` at patch ``i`` is
    ``w_t s_it - mean_t'(w_t' s_it')``: linear in the text, so it is the same product with the queries
    ``w_t t - mean_t'(w_t' t')`` and the released code's ``(n, T, E)`` tensor is never formed. The image is
    the mean of its tiles' pooled embeddings, so that all tiles share the weights. One query alone
    would score 0 everywhere; it keeps its cosine.

    Args:
        scale: factor of the image-text cosine inside the softmax.
    """

    needs_pooled = True

    def __init__(self, scale: float = 2.0) -> None:
        self.scale = scale

    def __call__(self, scores: PatchScores, embeddings: DenseEmbeddings, bank: TextBank) -> PatchScores:
        if embeddings.pooled is None:
            raise ValueError("feature surgery needs the pooled embedding: DenseEmbeddings.pooled is None")
        if not isinstance(scores, CosineScores):
            raise ValueError("feature surgery works on plain cosines; put it first in a RuleChain")
        if scores.num_queries == 1:
            return scores
        image = F.normalize(embeddings.pooled.float().mean(dim=0), dim=0)
        weights = torch.softmax(self.scale * (scores.queries @ image), dim=0) * scores.num_queries
        weighted = scores.queries * weights[:, None]
        return CosineScores(scores.patches, weighted - weighted.mean(dim=0), scores.chunk_queries)


@LOGIT_RULES.register_module()
class RuleChain(LogitRule):
    """Several rules, applied in order (MaskCLIP: prompt denoising, then key smoothing).

    Args:
        rules: rules, or configs of rules such as ``dict(type="PromptDenoising")``.
    """

    def __init__(self, rules: Sequence[LogitRule | Mapping[str, Any]]) -> None:
        self.rules: tuple[LogitRule, ...] = tuple(LOGIT_RULES.build(rule) for rule in rules)
        self.needs_keys = any(rule.needs_keys for rule in self.rules)
        self.needs_pooled = any(rule.needs_pooled for rule in self.rules)

    def __call__(self, scores: PatchScores, embeddings: DenseEmbeddings, bank: TextBank) -> PatchScores:
        for rule in self.rules:
            scores = rule(scores, embeddings, bank)
        return scores


def _softmax(scores: Tensor, scale: float, peak: Tensor, total: Tensor) -> Tensor:
    """Probabilities of a chunk of queries from :meth:`PatchScores.softmax_parts`."""
    return (scores * scale - peak[:, None]).exp_().div_(total[:, None])


def _probability(name: str, value: float) -> float:
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{name} is a probability in [0, 1]; got {value}")
    return value
