"""The same graph as a ``torch.export`` program, for machines that have torch, and its session."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ovperc.export.graph import ExportError, PatchEncoder
from ovperc.export.spliced_graph import SAM_TAPS, TokenEncoder, project_unit
from ovperc.export.text_graph import TextGraph
from ovperc.tasks.segmentation.spliced import SplicedSegmenter
from ovperc.text.foreground import ForegroundRule
from ovperc.text.logit_rules import FeatureSurgery
from ovperc.tiling import Stitcher
from ovperc.tiling.splice import as_one_window, splice

if TYPE_CHECKING:
    from ovperc.backbones.text_tower import TextTower
    from ovperc.core.structures import TextBank
    from ovperc.tasks.segmentation.segmenter import DenseSegmenter
    from ovperc.tiling import Geometry

_STRIP_PIXELS = 16_384
_COEF = 2048
_PILLOW_BITS = 22
_COMPILERS = ("g++", "clang++", "c++")


class SegmentationGraph(nn.Module):
    """A segmenter for one image of one size as a plain module; words are inputs.

    Args:
        segmenter: a method whose parts have an exported form.
        size_hw: of the images.
    """

    def __init__(self, segmenter: DenseSegmenter, size_hw: tuple[int, int]) -> None:
        super().__init__()
        backbone, preprocess = segmenter.clip.backbone, segmenter.clip.preprocess
        self.tiler, self.rule = segmenter.tiler, segmenter.logit_rule
        self.geometry = self.tiler.plan(size_hw, backbone.stride_px)
        for name, value in (("offset", preprocess.mean), ("spread", preprocess.std)):
            self.register_buffer(name, torch.tensor(value, dtype=torch.float32).view(3, 1, 1) * 255)
        for axis, inside in (("y", False), ("x", True)):
            index = int(inside)
            taps = bilinear_taps(size_hw[index], self.geometry.resized_hw[index], inside)
            for name, value in zip(("low", "high", "low_weight", "high_weight"), taps, strict=True):
                self.register_buffer(f"{axis}_{name}", value)
        merged = self.geometry
        if isinstance(segmenter, SplicedSegmenter):
            self.encoder: nn.Module = SplicedTower(segmenter, self.geometry, size_hw)
            grid_hw, merged = self.encoder.grid_hw, as_one_window(self.geometry)
        else:
            self.encoder = PatchEncoder(segmenter)
            with torch.no_grad():
                grid_hw = tuple(self.encoder(torch.zeros(1, 3, *self.geometry.tile_hw))[0].shape[-2:])
        self.counts = len(merged.starts_y), len(merged.starts_x)
        stitcher = Stitcher(merged, grid_hw)
        self.register_buffer("rows", stitcher.rows.clone())
        self.register_buffer("cols", stitcher.cols.T.contiguous())

    def forward(
        self,
        image: Tensor,
        text: Tensor,
        owners: Tensor,
        logit_scale: Tensor,
        background_threshold: Tensor,
        background_named: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Inputs and outputs as :func:`ovperc.export.onnx_export.assemble` names them."""
        pixels = (self._resize(image).permute(0, 3, 1, 2).float() - self.offset) / self.spread
        windows = self.tiler.tiles(pixels, self.geometry)
        if isinstance(self.encoder, SplicedTower):
            tower = self.encoder(windows, image)
        else:
            tower = dict(zip(self.encoder.outputs, self.encoder(windows), strict=True))
        scores = self._scores(tower, text, owners, logit_scale, background_named)
        strip = max(1, _STRIP_PIXELS // self.cols.shape[1])
        parts = [self._strip(scores, rows, owners) for rows in self.rows.split(strip)]
        labels, confidence = (torch.cat(maps, dim=1) for maps in zip(*parts, strict=True))
        return torch.where(confidence < background_threshold, 0, labels).to(torch.int32), confidence

    def _scores(
        self, tower: dict[str, Tensor], text: Tensor, owners: Tensor, logit_scale: Tensor, named: Tensor
    ) -> Tensor:
        """Scores of all queries on all patches, ``(1, Ty * h, Q, Tx * w)``; see ``ovperc.export.rule_ops``."""
        patches = self._by_rows(tower["embeddings"])
        if isinstance(self.rule, FeatureSurgery):
            text = _surgery(text, tower["pooled"], self.rule.scale)
        if not isinstance(self.rule, ForegroundRule):
            return torch.matmul(text * logit_scale, patches)
        chance = torch.softmax(torch.matmul(text * self.rule.scale, patches), dim=2)
        if "foreground" not in tower:
            return chance
        behind = self._by_rows(tower["foreground"][:, None]) <= 0
        background = (chance.amax(dim=2, keepdim=True) < self.rule.delta) & behind & named
        return torch.where(background & (owners == 0)[:, None], 1.0, chance)

    def _by_rows(self, tiles: Tensor) -> Tensor:
        """``(Ty * Tx, C, h, w) -> (1, Ty * h, C, Tx * w)``."""
        apart = tiles.unflatten(0, (1, *self.counts)).permute(0, 1, 4, 3, 2, 5)
        return apart.flatten(1, 2).flatten(3, 4)

    def _strip(self, scores: Tensor, rows: Tensor, owners: Tensor) -> tuple[Tensor, Tensor]:
        """Labels and confidence of some rows of pixels."""
        upright = torch.einsum("rk,bkqw->brqw", rows, scores)
        values = upright @ self.cols
        peak, winner = values.max(dim=2)
        if isinstance(self.rule, ForegroundRule):
            confidence = (peak / values.sum(dim=2)).clamp(0.0, 1.0)
        else:
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


class SplicedTower(nn.Module):
    """Windows of one image and the image itself to unit embeddings of one canvas.

    Args:
        segmenter: the method.
        geometry: of its images.
        size_hw: of its images.
    """

    def __init__(self, segmenter: SplicedSegmenter, geometry: Geometry, size_hw: tuple[int, int]) -> None:
        super().__init__()
        self.windows = TokenEncoder(segmenter, geometry.tile_hw)
        # The first tower is found under the windows; a module at two places would be traced as another class.
        self._aggregator = segmenter.aggregator
        self.geometry = geometry
        self.stride_px = segmenter.clip.backbone.stride_px
        self.grid_hw = tuple(side // self.stride_px * self.windows.ratio for side in geometry.resized_hw)
        self.has_sam = segmenter.aggregator is not None
        if not self.has_sam:
            return
        sam = segmenter.aggregator.backbone
        self.sam = sam.tower
        self.side_px = sam.image_size_px
        self.inside_hw = tuple(int(side * self.side_px / max(size_hw) + 0.5) for side in size_hw)
        self.seen_hw = tuple(max(side // sam.stride_px, 1) for side in self.inside_hw)
        if segmenter.aggregator.share == 1.0:
            self.grid_hw = self.seen_hw
        columns = self.side_px // sam.stride_px
        places = torch.arange(self.seen_hw[0])[:, None] * columns + torch.arange(self.seen_hw[1])
        self.register_buffer("valid", places.flatten())
        self.register_buffer("mean", sam.sam.pixel_mean.float().clone())
        self.register_buffer("std", sam.sam.pixel_std.float().clone())
        for name, old, new in zip(("down", "across"), size_hw, self.inside_hw, strict=True):
            self.register_buffer(name, torch.from_numpy(pillow_weights(old, new)))

    def forward(self, windows: Tensor, image: Tensor) -> dict[str, Tensor]:
        """``(T, 3, h, w)`` normalised windows and the image ``(1, H, W, 3)`` uint8.

        Returns:
            ``embeddings`` ``(1, E, h, w)``, and ``pooled`` ``(T, E)`` where the score rule reads it, float32.
        """
        maps, *pooled = self.windows(windows)
        tokens = maps.flatten(2).transpose(1, 2)
        canvas = splice(tokens, tuple(maps.shape[-2:]), self.geometry, self.stride_px)
        if self.has_sam:
            canvas = self._averaged(canvas, image)
        rows = project_unit(self.windows.backbone, canvas.flatten(1).T)
        tower = {"embeddings": rows.T.unflatten(1, self.grid_hw)[None]}
        return {**tower, "pooled": pooled[0]} if pooled else tower

    def _averaged(self, canvas: Tensor, image: Tensor) -> Tensor:
        """As :meth:`SamCorrelation.aggregate`, ``(D, h, w)``."""
        aggregator = self._aggregator
        seen = F.interpolate(canvas[None], self.seen_hw, mode="bilinear", align_corners=False)[0].flatten(1)
        features = aggregator.backbone.forward_dense(self._square(image), SAM_TAPS)
        mixed = seen @ aggregator.correlation(features, self.valid).T
        if aggregator.share == 1.0:
            return mixed.unflatten(1, self.seen_hw)
        step = (mixed - seen).unflatten(1, self.seen_hw)
        back = F.interpolate(step[None], canvas.shape[1:], mode="bilinear", align_corners=False)[0]
        return canvas + aggregator.share * back

    def _square(self, image: Tensor) -> Tensor:
        """SAM's own resize, bit for bit as Pillow has it, normalised and padded: ``(1, 3, S, S)``."""
        pixels = _pillow_rounded(image.permute(0, 3, 1, 2).double() @ self.across.T)
        pixels = _pillow_rounded(self.down @ pixels).float()
        height, width = self.inside_hw
        return F.pad((pixels - self.mean) / self.std, (0, self.side_px - width, 0, self.side_px - height))


def _surgery(text: Tensor, pooled: Tensor, scale: float) -> Tensor:
    """Queries without what all of them share, ``(Q, E)``; see :class:`FeatureSurgery`."""
    image = F.normalize(pooled.mean(dim=0), dim=0)
    count = torch.ones_like(text[:, 0]).sum()
    weighted = text * (torch.softmax(scale * (text @ image), dim=0) * count)[:, None]
    return torch.where(count == 1, text, weighted - weighted.mean(dim=0))


def pillow_weights(source: int, target: int) -> np.ndarray:
    """Pillow's antialiased bilinear resize of an axis: ``(target, source)`` integer weights as float64."""
    scale = source / target
    centres, places = (np.arange(target) + 0.5) * scale, np.arange(source) + 0.5
    weights = np.maximum(1 - np.abs(places - centres[:, None]) / max(scale, 1.0), 0.0)
    weights /= weights.sum(axis=1, keepdims=True)
    return np.floor(weights * (1 << _PILLOW_BITS) + 0.5)


def _pillow_rounded(sums: Tensor) -> Tensor:
    one = float(1 << _PILLOW_BITS)
    return ((sums + one / 2) / one).floor().clamp(0, 255)


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
    answered image by image (:class:`ovperc.runtime.torch_session.TorchSession`).

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
        torch.tensor(False),
    )
    queries = torch.export.Dim("queries", min=1)
    with torch.no_grad():
        return torch.export.export(
            graph, example, dynamic_shapes=(None, {0: queries}, {0: queries}, None, None, None), strict=False
        )


def export_text(text: TextTower) -> torch.export.ExportedProgram:
    """The text tower as an exported program ``tokens (N, L) -> (N, E)``."""
    dynamic = ({0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC},)
    with torch.no_grad():
        return torch.export.export(
            TextGraph(text).eval(), (torch.zeros(2, 9, dtype=torch.int64),), dynamic_shapes=dynamic, strict=False
        )


def save_program(program: torch.export.ExportedProgram, path: Path) -> None:
    """Writes a ``.pt2`` file."""
    torch.export.save(program, path)


def find_compiler() -> str:
    """The C++ compiler that AOTInductor would call.

    Raises:
        ExportError: there is none.
    """
    wanted = os.environ.get("CXX")
    for name in [wanted] if wanted else _COMPILERS:
        if found := shutil.which(name):
            return found
    raise ExportError(
        f"--format aot compiles the program and needs a C++ compiler; found none of {wanted or ', '.join(_COMPILERS)}. "
        "Install g++ or set CXX, or use --format torch"
    )


def compile_program(program: torch.export.ExportedProgram, path: Path) -> None:
    """Compiles a program for this machine with AOTInductor and writes its package.

    Raises:
        ExportError: there is no C++ compiler.
    """
    find_compiler()
    torch._inductor.aoti_compile_and_package(program, package_path=str(path))
