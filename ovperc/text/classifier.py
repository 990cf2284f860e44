"""Streaming classification: labels and confidences for any vocabulary size in bounded memory.

Resizing and tile averaging act on space, the text product on channels, so they commute: cosines are
taken on the patch grid and interpolated to pixels in chunks of queries, with a running maximum and sum
of exponentials. No ``(classes, H, W)`` tensor exists, yet the result equals the dense softmax.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ovperc.core.structures import DenseEmbeddings, SegmentationMap, TextBank
from ovperc.refine.base import Refiner
from ovperc.text.logit_rules import LogitRule
from ovperc.text.owners import max_by_owner_
from ovperc.text.patch_scores import CosineScores, PatchScores
from ovperc.text.streaming import Progress, ScoreBlock, ScoreStream
from ovperc.tiling.stitcher import Stitcher

# On a CPU a block of pixel scores (2.4 MB per thread) stays in cache while eight passes run over it.
_CPU_BLOCK_PER_THREAD = 600_000
_CPU_CHUNK, _ACCELERATOR_CHUNK = 256, 1024
# Patch scores of a chunk are held a few times over; on large grids chunks shrink, though not below 32 prompts.
_CPU_PATCH_SCORES, _CPU_MIN_CHUNK = 2**20, 32
_BYTES_PER_MB, _BYTES_PER_FLOAT = 2**20, 4
_UNDERFLOW = 1e-30


def check_bank(bank: TextBank, fingerprint: str, embed_dim: int) -> None:
    """Rejects a text bank from another encoder.

    Args:
        bank: text bank.
        fingerprint: fingerprint of the image's encoder.
        embed_dim: channels ``E`` of its joint space.

    Raises:
        ValueError: the encoders differ.
    """
    if bank.fingerprint != fingerprint:
        raise ValueError(
            f"the text bank was made by encoder {bank.fingerprint!r}, the image by {fingerprint!r}; "
            "encode the words again with the image's encoder"
        )
    if bank.embeddings.shape[1] != embed_dim:
        raise ValueError(f"the text bank has {bank.embeddings.shape[1]} channels, the image encoder {embed_dim}")


class _Running:
    """Running state per pixel: best score, class code of its query, sum over queries.

    A code is ``C - class`` as float32: its maximum over tied queries is the lowest class.
    """

    def __init__(self, bank: TextBank, size_hw: tuple[int, int], device: torch.device) -> None:
        self._classes = bank.num_classes
        self._codes = (bank.num_classes - bank.owners).to(torch.float32)
        self._best = torch.full(size_hw, -math.inf, device=device)
        self._code = torch.zeros(size_hw, device=device)
        self.total = torch.zeros(size_hw, device=device)

    def add(self, block: ScoreBlock) -> None:
        """Updates the state with a block, whose values are overwritten."""
        values, place = block.values, (block.rows, block.cols)
        peak = values.amax(dim=1)
        self.total[place] += values.sum(dim=1)
        better = peak > self._best[place]
        if not better.any():
            return
        winners = values.ge_(peak[:, None]).mul_(self._codes[block.queries][:, None]).amax(dim=1)
        self._code[place] = torch.where(better, winners, self._code[place])
        self._best[place] = torch.where(better, peak, self._best[place])

    def labels(self, threshold: float) -> SegmentationMap:
        """Labels and confidences; pixels with confidence below ``threshold`` become label 0."""
        confidence = (self._best / self.total).nan_to_num_(0.0).clamp_(0.0, 1.0)
        labels = (self._classes - self._code).to(torch.int32)
        if threshold > 0:
            labels.masked_fill_(confidence < threshold, 0)
        return SegmentationMap(labels, confidence)


class StreamingClassifier:
    """Assigns the class of the best prompt, with its softmax probability over all prompts as confidence.

    ``max_c max_{q in c} P_q = 1 / sum_q exp(s (l_q - l_max))``: the merged softmax of the published
    methods, without softmax or merge.

    Args:
        logit_scale: ``s``, factor of the cosines inside the softmax.
        chunk_queries: prompts scored at a time; ``None`` chooses.
        max_buffer_mb: limit of each scratch buffer (patch scores of a chunk; a block of pixel scores;
            full-size maps of a chunk where a refiner is on).
    """

    def __init__(
        self, logit_scale: float = 40.0, chunk_queries: int | None = None, max_buffer_mb: float = 64.0
    ) -> None:
        if logit_scale <= 0 or max_buffer_mb <= 0 or (chunk_queries is not None and chunk_queries < 1):
            raise ValueError(
                f"logit_scale, max_buffer_mb and chunk_queries must be positive; got {logit_scale}, "
                f"{max_buffer_mb} and {chunk_queries}"
            )
        self.logit_scale = logit_scale
        self.chunk_queries = chunk_queries
        self.max_buffer_mb = max_buffer_mb

    @torch.no_grad()
    def __call__(
        self,
        embeddings: DenseEmbeddings,
        bank: TextBank,
        stitcher: Stitcher,
        *,
        rule: LogitRule | None = None,
        refiner: Refiner | None = None,
        guidance: Tensor | None = None,
        progress: Progress | None = None,
    ) -> SegmentationMap:
        """Labels one image.

        Args:
            embeddings: of all ``T`` tiles of the image.
            bank: text bank on the same device.
            stitcher: of the geometry the tiles were cut by.
            rule: changes the patch scores before they are resized.
            refiner: smooths full-size maps of the scores before the softmax.
            guidance: ``(3, H, W)`` float image at the original size, for the refiner.
            progress: called with the number of prompts done and in total.

        Returns:
            Labels and confidence at the original size. Pixels below the bank's background threshold are 0.
        """
        stream = self._stream(embeddings, bank, stitcher, rule, refiner, guidance, progress)
        running = self._run(stream, bank, None)
        if not stream.scores.probabilities and not bool((running.total > _UNDERFLOW).all()):
            running = self._run(stream, bank, stream.peak(self.logit_scale))
        return running.labels(bank.background.threshold)

    @torch.no_grad()
    def scores(
        self,
        embeddings: DenseEmbeddings,
        bank: TextBank,
        stitcher: Stitcher,
        *,
        raw: bool = False,
        rule: LogitRule | None = None,
        refiner: Refiner | None = None,
        guidance: Tensor | None = None,
        classes: Tensor | None = None,
    ) -> Tensor:
        """Dense class scores, ``(C, H, W)`` float32: only computed on request.

        Args:
            embeddings: as for a call.
            bank: as for a call.
            stitcher: as for a call.
            raw: False for softmax probabilities over all prompts, the best prompt of each class; True for
                the scores before the softmax. Without a logit rule those are cosines, and those of a class do
                not depend on the rest of the vocabulary.
            rule: as for a call.
            refiner: as for a call.
            guidance: as for a call.
            classes: ``(k,)`` int64 labels to return, ``(k, H, W)``. All prompts still count in the softmax.

        Returns:
            Classes without a prompt (a background that is a threshold only) score 0, or -1 with ``raw``.
        """
        stream = self._stream(embeddings, bank, stitcher, rule, refiner, guidance, None)
        peak = None if raw or stream.scores.probabilities else stream.peak(self.logit_scale)
        device = bank.embeddings.device
        rows = torch.arange(bank.num_classes, device=device)
        if classes is not None:  # the last row collects classes that are not requested
            rows = torch.full_like(rows, len(classes)).index_copy_(0, classes.long(), rows[: len(classes)])
        owners = rows[bank.owners]
        best = torch.full((int(rows.max()) + 1, *stitcher.output_hw), -math.inf, device=device)
        total = torch.zeros(stitcher.output_hw, device=device)
        for block in stream.blocks() if raw else stream.likelihoods(self.logit_scale, peak):
            total[block.rows, block.cols] += block.values.sum(dim=1)
            region = best[:, block.rows, block.cols]
            max_by_owner_(region, block.values.transpose(0, 1), owners[block.queries])
        best[torch.bincount(owners, minlength=len(best)) == 0] = -1.0 if raw else 0.0
        best = best if classes is None else best[: len(classes)]
        return best if raw else best.div_(total)

    def _run(self, stream: ScoreStream, bank: TextBank, peak: Tensor | None) -> _Running:
        running = _Running(bank, stream.output_hw, bank.embeddings.device)
        for block in stream.likelihoods(self.logit_scale, peak):
            running.add(block)
        return running

    def _stream(
        self,
        embeddings: DenseEmbeddings,
        bank: TextBank,
        stitcher: Stitcher,
        rule: LogitRule | None,
        refiner: Refiner | None,
        guidance: Tensor | None,
        progress: Progress | None,
    ) -> ScoreStream:
        patches = embeddings.patches.to(torch.float32).flatten(2)
        if patches.shape[1] != bank.embeddings.shape[1]:
            raise ValueError(
                f"patch embeddings have {patches.shape[1]} channels, the text bank {bank.embeddings.shape[1]}; "
                "encode image and words with one model"
            )
        if not torch.isfinite(patches.sum()):
            raise ValueError("patch embeddings hold values that are not finite; try float32 for the image tower")
        chunk, block = self._sizes(patches, 0 if refiner is None else math.prod(stitcher.output_hw))
        scores: PatchScores = CosineScores(patches, bank.embeddings.to(torch.float32), chunk)
        if rule is not None:
            scores = rule(scores, embeddings, bank)
        return ScoreStream(scores, stitcher, block, refiner, guidance, progress)

    def _sizes(self, patches: Tensor, map_pixels: int) -> tuple[int, int]:
        """Prompts per chunk, and floats per block of pixel scores, within the buffer limit.

        Args:
            patches: ``(T, E, n)``.
            map_pixels: pixels of the full-size maps that a refiner needs; 0 without one.
        """
        limit = max(int(self.max_buffer_mb * _BYTES_PER_MB / _BYTES_PER_FLOAT), 1)
        positions = patches.shape[0] * patches.shape[2]
        if patches.device.type == "cpu":
            chunk = min(_CPU_CHUNK, max(_CPU_PATCH_SCORES // positions, _CPU_MIN_CHUNK))
            block = min(_CPU_BLOCK_PER_THREAD * torch.get_num_threads(), limit)
        else:
            chunk, block = _ACCELERATOR_CHUNK, limit
        fitting = max(limit // max(positions, map_pixels), 1)
        return min(self.chunk_queries or chunk, fitting), block
