"""Upsampling of patch scores to pixels, by chunks of queries and blocks of pixels.

Interpolation weights are convex (none negative, sum 1), and so are a refiner's. Subtracting at every
patch the largest score over all queries therefore subtracts the same number from all queries at a pixel,
which changes neither softmax nor arg-max, and leaves no positive exponent: one pass suffices.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ovperc.refine.base import Refiner
from ovperc.text.patch_scores import PatchScores
from ovperc.tiling.stitcher import Stitcher

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ScoreBlock:
    """Scores of some queries on a rectangle of the output.

    Attributes:
        queries: run of queries.
        rows: output rows.
        cols: output columns.
        values: ``(rows, q, cols)`` float32 scratch, overwritten by the next block; may be written to.
    """

    queries: slice
    rows: slice
    cols: slice
    values: Tensor


class ScoreStream:
    """All scores of one image at the original size, block by block.

    Args:
        scores: on the patch grids of its tiles.
        stitcher: resizes them to the original size.
        block_elements: floats per block of pixel scores.
        refiner: smooths full maps; a block then has all pixels of a chunk of queries.
        guidance: ``(3, H, W)`` image for the refiner.
        progress: called after every chunk with the number of queries done and in total.
    """

    def __init__(
        self,
        scores: PatchScores,
        stitcher: Stitcher,
        block_elements: int,
        refiner: Refiner | None = None,
        guidance: Tensor | None = None,
        progress: Progress | None = None,
    ) -> None:
        if refiner is not None and (guidance is None or guidance.shape[-2:] != stitcher.output_hw):
            found = "none" if guidance is None else tuple(guidance.shape)
            raise ValueError(f"a refiner needs guidance (3, H, W) with H, W = {stitcher.output_hw}; got {found}")
        self.scores = scores
        self._stitcher = stitcher
        self._block_elements = block_elements
        self._refiner = refiner
        self._state = None if refiner is None else refiner.prepare(guidance)
        self._progress = progress

    @property
    def output_hw(self) -> tuple[int, int]:
        """Size of the image."""
        return self._stitcher.output_hw

    def blocks(self, scale: float = 1.0, shift: Tensor | None = None) -> Iterator[ScoreBlock]:
        """``scale * (score - shift)`` of every query at every pixel, in order of queries.

        Args:
            scale: factor of the scores.
            shift: ``(T, n)``, taken from all queries before the resize; ``None`` for 0.
        """
        whole = [slice(0, size) for size in self._stitcher.output_hw]
        tiles = [] if self._refiner else self._stitcher.tiles(self._block_elements // self.scores.chunk_queries)
        pixels = max((tile.pixels for tile in tiles), default=0)
        buffer = torch.empty(pixels * self.scores.chunk_queries, device=self._stitcher.device)
        for queries, values in self.scores.chunks():
            centred = values.mul(scale) if shift is None else values.sub(shift[:, None]).mul_(scale)
            maps = centred.unflatten(2, self._stitcher.grid_hw)
            if self._refiner is not None:
                refined = self._refiner.refine(self._stitcher.merge(maps), self._state)
                yield ScoreBlock(queries, whole[0], whole[1], refined.transpose(0, 1))
            else:
                grid = self._stitcher.block(maps)
                for tile in tiles:
                    yield ScoreBlock(queries, tile.rows, tile.cols, tile.interpolate(grid, buffer))
            if self._progress is not None:
                self._progress(queries.stop, self.scores.num_queries)

    def likelihoods(self, scale: float, peak: Tensor | None = None) -> Iterator[ScoreBlock]:
        """Summands of a softmax: ``exp(scale * score)`` up to a factor per pixel; probabilities are unchanged.

        Args:
            scale: factor of logits; probabilities are not scaled.
            peak: ``(H, W)`` from :meth:`peak`, subtracted too, where the patch maxima alone leave values
                that float32 cannot hold.
        """
        if self.scores.probabilities:
            yield from self.blocks()
            return
        # exp(x) = exp2(x log2 e): torch's exp2 takes a third of the time of its exp on a CPU.
        for block in self.blocks(scale * math.log2(math.e), self.scores.peak()):
            if peak is not None:
                block.values.sub_(peak[block.rows, block.cols][:, None])
            block.values.exp2_()
            yield block

    def peak(self, scale: float) -> Tensor:
        """Largest exponent (base 2) of every pixel after the shift by the patch maxima, ``(H, W)``."""
        best = torch.full(self._stitcher.output_hw, -math.inf, device=self._stitcher.device)
        for block in self.blocks(scale * math.log2(math.e), self.scores.peak()):
            place = (block.rows, block.cols)
            best[place] = torch.maximum(best[place], block.values.amax(dim=1))
        return best
