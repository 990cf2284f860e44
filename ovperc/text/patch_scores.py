"""Scores of queries on the patch grid, computed lazily in chunks of queries."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor


class PatchScores(ABC):
    """Lazily computed patch scores ``(T, Q, n)`` of an image.

    Logit rules wrap one such object in another. The last chunk is cached, so a vocabulary that
    fits in one chunk is scored once, however many passes a rule needs.

    Attributes:
        num_queries: ``Q``.
        chunk_queries: queries per chunk; chunks have nearly equal size.
        probabilities: False for logits that a softmax follows (cosines), True where the scores are
            probabilities already.
    """

    probabilities: bool = False

    def __init__(self, num_queries: int, chunk_queries: int) -> None:
        chunks = -(-num_queries // max(chunk_queries, 1))
        self.num_queries = num_queries
        self.chunk_queries = -(-num_queries // chunks)
        self._last: tuple[slice, Tensor] | None = None

    def chunks(self) -> Iterator[tuple[slice, Tensor]]:
        """Runs of queries in order, each with its scores ``(T, q, n)`` float32; not to be written to."""
        for start in range(0, self.num_queries, self.chunk_queries):
            queries = slice(start, min(start + self.chunk_queries, self.num_queries))
            yield queries, self.chunk(queries)

    def chunk(self, queries: slice) -> Tensor:
        """Scores of one run of queries, ``(T, q, n)`` float32; not to be written to."""
        if self._last is None or self._last[0] != queries:
            self._last = None
            self._last = (queries, self.compute(queries))
        return self._last[1]

    @abstractmethod
    def compute(self, queries: slice) -> Tensor:
        """Scores of a run of queries, ``(T, q, n)`` float32; every query by itself."""

    def peak(self) -> Tensor:
        """Best score of every patch over all queries, ``(T, n)``."""
        best: Tensor | None = None
        for _, scores in self.chunks():
            chunk_best = scores.amax(dim=1)
            best = chunk_best if best is None else torch.maximum(best, chunk_best)
        assert best is not None
        return best

    def softmax_parts(self, scale: float) -> tuple[Tensor, Tensor]:
        """Normalisation terms of a softmax over all queries: ``exp(scale * score - peak) / total``.

        Args:
            scale: factor of the scores inside the softmax.

        Returns:
            ``peak``, the largest ``scale * score`` of every patch, and ``total``; both ``(T, n)``. The largest
            probability is ``1 / total``.
        """
        peak = self.peak() * scale
        total = torch.zeros_like(peak)
        for _, scores in self.chunks():
            total += (scores * scale - peak[:, None]).exp_().sum(dim=1)
        return peak, total


class CosineScores(PatchScores):
    """Inner products of patches and queries: cosines where both have unit norm.

    Args:
        patches: ``(T, E, n)`` float32.
        queries: ``(Q, E)`` float32.
        chunk_queries: queries per chunk.
    """

    def __init__(self, patches: Tensor, queries: Tensor, chunk_queries: int) -> None:
        super().__init__(len(queries), chunk_queries)
        self.patches = patches
        self.queries = queries

    def compute(self, queries: slice) -> Tensor:
        return torch.matmul(self.queries[queries], self.patches)
