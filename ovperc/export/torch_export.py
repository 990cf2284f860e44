"""The same graph as a ``torch.export`` program, for machines that have torch, and its session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from ovperc.export.graph import ExportError, PatchEncoder, TextGraph
from ovperc.tiling import Stitcher

if TYPE_CHECKING:
    from ovperc.backbones.text_tower import TextTower
    from ovperc.structures import TextBank
    from ovperc.tasks.segmentation import DenseSegmenter

_STRIP_PIXELS = 16_384
_COEF = 2048
_WORD_INPUTS = ("text", "owners", "logit_scale", "background_threshold")


class SegmentationGraph(nn.Module):
    """A segmenter for one image size as a plain module; words are inputs.

    Args:
        segmenter: a method without score rule and refiner.
        size_hw: of the images.
    """

    def __init__(self, segmenter: DenseSegmenter, size_hw: tuple[int, int]) -> None:
        super().__init__()
        self.encoder = PatchEncoder(segmenter)
        backbone, preprocess = segmenter.clip.backbone, segmenter.clip.preprocess
        self.tiler = segmenter.tiler
        self.geometry = self.tiler.plan(size_hw, backbone.stride_px)
        for name, value in (("offset", preprocess.mean), ("spread", preprocess.std)):
            self.register_buffer(name, torch.tensor(value, dtype=torch.float32).view(3, 1, 1) * 255)
        for axis, inside in (("y", False), ("x", True)):
            index = int(inside)
            taps = bilinear_taps(size_hw[index], self.geometry.resized_hw[index], inside)
            for name, value in zip(("low", "high", "low_weight", "high_weight"), taps, strict=True):
                self.register_buffer(f"{axis}_{name}", value)
        # Towers ignore what is beyond a whole number of patches.
        grid_hw = tuple(side // backbone.stride_px for side in self.geometry.tile_hw)
        stitcher = Stitcher(self.geometry, grid_hw)
        self.register_buffer("rows", stitcher.rows.clone())
        self.register_buffer("cols", stitcher.cols.T.contiguous())

    def forward(
        self, image: Tensor, text: Tensor, owners: Tensor, logit_scale: Tensor, background_threshold: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Inputs and outputs as :func:`ovperc.export.onnx_export.export_segmenter` names them."""
        pixels = (self._resize(image).permute(0, 3, 1, 2).float() - self.offset) / self.spread
        embeddings = self.encoder(self.tiler.tiles(pixels, self.geometry))
        counts = len(self.geometry.starts_y), len(self.geometry.starts_x)
        _, embed_dim, h, w = embeddings.shape
        tiles = embeddings.reshape(-1, *counts, embed_dim, h, w).permute(0, 1, 4, 3, 2, 5)
        patches = tiles.reshape(-1, counts[0] * h, embed_dim, counts[1] * w)
        scores = torch.matmul(text * logit_scale, patches)
        strip = max(1, _STRIP_PIXELS // self.cols.shape[1])
        parts = [self._strip(scores, rows, owners) for rows in self.rows.split(strip)]
        labels, confidence = (torch.cat(maps, dim=1) for maps in zip(*parts, strict=True))
        return torch.where(confidence < background_threshold, 0, labels).to(torch.int32), confidence

    def _strip(self, scores: Tensor, rows: Tensor, owners: Tensor) -> tuple[Tensor, Tensor]:
        """Labels and confidence of some rows of pixels."""
        upright = torch.einsum("rk,bkqw->brqw", rows, scores)
        values = upright @ self.cols
        peak, winner = values.max(dim=2)
        confidence = 1 / (values - peak[:, :, None]).exp().sum(dim=2)
        return owners[winner], confidence

    def _resize(self, image: Tensor) -> Tensor:
        """OpenCV's bilinear resize, bit for bit, ``(B, H, W, 3) -> (B, h, w, 3)`` int32."""

        def horizontal(lines: Tensor) -> Tensor:
            low = lines[:, :, self.x_low].int() * self.x_low_weight[:, None]
            high = lines[:, :, self.x_high].int() * self.x_high_weight[:, None]
            return (low + high) >> 4

        upper = (horizontal(image[:, self.y_low]) * self.y_low_weight[:, None, None]) >> 16
        lower = (horizontal(image[:, self.y_high]) * self.y_high_weight[:, None, None]) >> 16
        return ((upper + lower + 2) >> 2).clamp(max=255)


def bilinear_taps(original: int, resized: int, inside: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Two source indices and their 11-bit weights along an axis, as OpenCV has them.

    Args:
        original: length before the resize.
        resized: length after it.
        inside: True as OpenCV treats columns, False as it treats rows; they differ at the border.
    """
    scale = 1.0 / (resized / original)
    place = ((torch.arange(resized, dtype=torch.float64) + 0.5) * scale - 0.5).float()
    floor = place.floor()
    fraction, first = place - floor, floor.long()
    if inside:
        fraction = torch.where((first < 0) | (first >= original - 1), 0.0, fraction)
    low, high = (index.clamp(0, original - 1) for index in (first, first + 1))
    weights = ((share * _COEF).round().int() for share in (1 - fraction, fraction))
    return low, high, *weights


def export_segmenter(
    segmenter: DenseSegmenter, size_hw: tuple[int, int], bank: TextBank
) -> torch.export.ExportedProgram:
    """A segmenter for one image of one size as an exported program; words are free.

    torch.export would fix the batch inside the tower, where windows of images are counted together; a batch is
    answered image by image (:class:`TorchSession`).

    Args:
        segmenter: the method.
        size_hw: of the images.
        bank: example words.
    """
    if size_hw is None:
        raise ExportError("a torch program holds one image size; pass --size HxW, or use --format onnx")
    graph = SegmentationGraph(segmenter, size_hw).eval()
    text = bank.embeddings.float()
    # One row would be taken as a fixed size.
    repeat = 2 if len(text) == 1 else 1
    example = (
        torch.zeros(1, *size_hw, 3, dtype=torch.uint8),
        text.repeat(repeat, 1),
        bank.owners.repeat(repeat),
        torch.tensor(1.0),
        torch.tensor(0.0),
    )
    queries = torch.export.Dim("queries", min=1)
    with torch.no_grad():
        return torch.export.export(
            graph, example, dynamic_shapes=(None, {0: queries}, {0: queries}, None, None), strict=False
        )


def export_text(text: TextTower) -> torch.export.ExportedProgram:
    """The text tower as an exported program ``tokens (N, L) -> (N, E)``."""
    dynamic = ({0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC},)
    with torch.no_grad():
        return torch.export.export(
            TextGraph(text).eval(), (torch.zeros(2, 9, dtype=torch.int64),), dynamic_shapes=dynamic, strict=False
        )


class TorchSession:
    """A saved program with the interface of an onnxruntime session.

    Args:
        path: ``.pt2`` file.
        device: where it computes.
    """

    def __init__(self, path: Path, device: str = "cpu") -> None:
        self._device = device
        program = torch.export.load(path)
        if device != "cpu":
            program = torch.export.passes.move_to_device_pass(program, device)
        self._module = program.module()

    @torch.inference_mode()
    def run(self, outputs: Sequence[str] | None, feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Answers inputs by name, images one by one; ``outputs`` is there for the interface only."""
        tensors = {name: torch.from_numpy(np.array(value)).to(self._device) for name, value in feed.items()}
        if "image" not in tensors:
            return [self._module(tensors["tokens"]).cpu().numpy()]
        words = [tensors[name] for name in _WORD_INPUTS]
        answers = [self._module(image, *words) for image in tensors["image"].split(1)]
        return [torch.cat(parts).cpu().numpy() for parts in zip(*answers, strict=True)]
