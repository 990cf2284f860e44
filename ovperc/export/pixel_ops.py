"""Pixels inside an exported graph: the resize, normalisation and tiles of :mod:`ovperc.tiling`, as ONNX nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np

from ovperc.export.builder import DOUBLE, FLOAT, INT32, INT64, GraphBuilder, Value
from ovperc.export.parts import ExportError, GraphBuilders
from ovperc.export.pillow_ops import resize_pillow
from ovperc.tiling.square import SquareTiler
from ovperc.tiling.tiler import Tiler

_COEF = 2048  # OpenCV keeps bilinear weights in 11 bits
TILERS: GraphBuilders[Callable[[GraphBuilder, tuple[str, str], Any, int], list[Value]]] = GraphBuilders(
    "tiler", "pass tiler.type='Tiler'"
)
"""Sides after the resize, from those of the image, the tiler and the stride of the tower."""


@dataclass(frozen=True)
class AxisPlan:
    """One axis of a :class:`ovperc.tiling.Geometry`, as values of a graph (int64 scalars; ``starts`` a vector)."""

    original: Value
    resized: Value
    crop: Value
    starts: Value
    before: Value
    after: Value

    def count(self, graph: GraphBuilder) -> str:
        """Number of tiles, an int64 scalar."""
        starts = self.starts if isinstance(self.starts, str) else graph.constant(self.starts)
        return graph.size(starts, 0)


def plan_axes(graph: GraphBuilder, image: str, tiler: Tiler, patch_px: int, crop_hw: tuple[int, int] | None):
    """:meth:`Tiler.plan` inside the graph.

    Args:
        graph: written to.
        image: ``(B, H, W, 3)``.
        tiler: the rules.
        patch_px: stride of the tower.
        crop_hw: size of the tiles; ``None`` takes the whole image as one.

    Returns:
        :class:`AxisPlan` of rows and of columns.
    """
    sides = graph.size(image, 1), graph.size(image, 2)
    resized = TILERS.find(tiler)(graph, sides, tiler, patch_px)
    plans = []
    for index, (side, length) in enumerate(zip(sides, resized, strict=True)):
        crop: Value = length if crop_hw is None else crop_hw[index]
        starts: Value = [0] if crop_hw is None else _starts(graph, length, crop_hw[index], tiler.stride_px)
        before, after = _padding(graph, crop, tiler, patch_px)
        plans.append(AxisPlan(side, length, crop, starts, before, after))
    return plans[0], plans[1]


def in_cells(graph: GraphBuilder, axis: AxisPlan, patch_px: int, ratio: int = 1) -> AxisPlan:
    """An axis counted in cells of a grid with ``ratio`` cells per patch, not resized; in whole patches, no padding."""
    resized, crop, starts = (
        graph.op("Mul", graph.op("Div", value, patch_px), ratio) for value in (axis.resized, axis.crop, axis.starts)
    )
    return AxisPlan(resized, resized, crop, starts, 0, 0)


@TILERS.register(SquareTiler)
def _square_sides(graph: GraphBuilder, sides: tuple[str, str], tiler: SquareTiler, patch_px: int) -> list[Value]:
    return list(tiler.resized_hw((1, 1), patch_px))


@TILERS.register(Tiler)
def _resized_sides(graph: GraphBuilder, sides: tuple[str, str], tiler: Tiler, patch_px: int) -> list[Value]:
    def double(value: float) -> np.ndarray:
        return np.asarray(value, dtype=np.float64)

    op = graph.op
    factor: Value = double(tiler.scale)
    if tiler.short_side_px is not None:
        factor = op("Div", double(tiler.short_side_px), graph.cast(op("Min", *sides), DOUBLE))
    if tiler.max_long_side_px is not None:
        longest = op("Div", double(tiler.max_long_side_px), graph.cast(op("Max", *sides), DOUBLE))
        factor = op("Min", factor, longest)
    scaled = [op("Add", op("Mul", graph.cast(side, DOUBLE), factor), double(0.5)) for side in sides]
    lengths = [op("Max", graph.cast(side, INT64), patch_px) for side in scaled]
    if not tiler.whole_patches:
        return lengths
    if tiler.follow_long_side:
        longest = op("Max", *lengths)
        target = op("Add", longest, op("Mod", op("Neg", longest), patch_px))
        lengths = [op("Div", op("Mul", length, target), longest) for length in lengths]
    return [op("Add", length, op("Mod", op("Neg", length), patch_px)) for length in lengths]


def _starts(graph: GraphBuilder, length: str, crop: int, stride: int) -> str:
    """:func:`ovperc.tiling.tile_starts` of an axis that is at least one crop long."""
    op = graph.op
    beyond = op("Max", op("Sub", length, crop), 0)
    stride = stride or crop
    count = op("Add", op("Div", op("Add", beyond, stride - 1), stride), 1)
    return op("Min", op("Mul", graph.arange(count), stride), beyond)


def _padding(graph: GraphBuilder, crop: Value, tiler: Tiler, patch_px: int) -> tuple[Value, Value]:
    if tiler.pad == "none":
        return 0, 0
    missing = graph.op("Mod", graph.op("Neg", crop), tiler.pad_multiple_px or patch_px)
    before = graph.op("Div", missing, 2) if tiler.pad == "symmetric" else 0
    return before, graph.op("Sub", missing, before)


def check_resize_op(rule: str) -> None:
    """Refuses a rule of :data:`ovperc.tiling.preprocess.RESIZE_RULES` that has no form in the graph.

    Raises:
        ExportError: naming the rule.
    """
    if rule not in RESIZE_OPS:
        raise ExportError(f"resize={rule!r} has no exported form; pass one of {', '.join(RESIZE_OPS)} as resize")


def resize_pixels(graph: GraphBuilder, image: str, rows: AxisPlan, cols: AxisPlan, rule: str) -> str:
    """:func:`ovperc.tiling.preprocess.resize_image` bit for bit: ``(B, H, W, 3) uint8 -> (B, h, w, 3)`` in 0..255.

    Args:
        graph: written to.
        image: name of the value.
        rows: the axis of rows.
        cols: the axis of columns.
        rule: one that :func:`check_resize_op` lets pass.
    """
    check_resize_op(rule)
    return RESIZE_OPS[rule](graph, image, rows, cols)


def _pillow(rule: str, graph: GraphBuilder, image: str, rows: AxisPlan, cols: AxisPlan) -> str:
    pairs = [(axis.original, axis.resized) for axis in (rows, cols)]
    return graph.op("Transpose", resize_pillow(graph, image, *pairs, rule), perm=[0, 2, 3, 1])


def resize_bilinear(graph: GraphBuilder, image: str, rows: AxisPlan, cols: AxisPlan) -> str:
    """OpenCV's bilinear resize of uint8, bit for bit: ``(B, H, W, 3) uint8 -> (B, h, w, 3)`` int32 in 0..255."""
    op = graph.op
    y0, y1, b0, b1 = _bilinear_taps(graph, rows, inside=False)
    x0, x1, a0, a1 = _bilinear_taps(graph, cols, inside=True)

    def horizontal(taken: str) -> str:
        left, right = (graph.cast(op("Gather", taken, index, axis=2), INT32) for index in (x0, x1))
        mixed = op("Add", op("Mul", left, op("Unsqueeze", a0, [1])), op("Mul", right, op("Unsqueeze", a1, [1])))
        return op("Div", mixed, np.asarray(16, np.int32))

    lines = [(op("Gather", image, index, axis=1), weight) for index, weight in ((y0, b0), (y1, b1))]
    parts = [
        op("Div", op("Mul", horizontal(line), op("Unsqueeze", weight, [1, 2])), np.asarray(1 << 16, np.int32))
        for line, weight in lines
    ]
    rounded = op("Add", op("Add", *parts), np.asarray(2, np.int32))
    return op("Min", op("Div", rounded, np.asarray(4, np.int32)), np.asarray(255, np.int32))


def _bilinear_taps(graph: GraphBuilder, axis: AxisPlan, inside: bool) -> tuple[str, str, str, str]:
    """Two source indices (int64) and their weights (int32, 11 bits) for every place of the resized axis.

    Args:
        graph: written to.
        axis: from ``original`` to ``resized``.
        inside: True as OpenCV treats columns (beyond the border, weight 1 on the last pixel), False as it
            treats rows (both indices on the border, weights kept), which rounds differently.
    """
    op = graph.op
    half = np.asarray(0.5, dtype=np.float64)
    ratio = op("Div", graph.cast(axis.resized, DOUBLE), graph.cast(axis.original, DOUBLE))
    scale = op("Div", np.asarray(1.0, dtype=np.float64), ratio)
    centre = op("Add", graph.cast(graph.arange(axis.resized), DOUBLE), half)
    place = graph.cast(op("Sub", op("Mul", centre, scale), half), FLOAT)
    floor = op("Floor", place)
    fraction = op("Sub", place, floor)
    first = graph.cast(floor, INT64)
    last = op("Sub", axis.original, 1)
    if inside:
        outside = op("Or", op("Less", first, 0), op("GreaterOrEqual", first, last))
        fraction = op("Where", outside, 0.0, fraction)
    indices = [op("Min", op("Max", index, 0), last) for index in (first, op("Add", first, 1))]
    weights = [
        graph.cast(op("Round", op("Mul", share, float(_COEF))), INT32) for share in (op("Sub", 1.0, fraction), fraction)
    ]
    return indices[0], indices[1], weights[0], weights[1]


RESIZE_OPS: Mapping[str, Callable[[GraphBuilder, str, AxisPlan, AxisPlan], str]] = MappingProxyType(
    {"opencv": resize_bilinear, "bilinear": partial(_pillow, "bilinear"), "bicubic": partial(_pillow, "bicubic")}
)
"""The rules that have a form in the graph."""


def normalise(graph: GraphBuilder, pixels: str, mean: tuple[float, ...], std: tuple[float, ...]) -> str:
    """:func:`ovperc.tiling.normalize`: ``(B, h, w, 3)`` in 0..255 to ``(B, 3, h, w)`` float32."""
    channels = graph.op("Transpose", graph.cast(pixels, FLOAT), perm=[0, 3, 1, 2])
    offset, spread = (np.asarray(value, dtype=np.float32).reshape(3, 1, 1) * np.float32(255) for value in (mean, std))
    return graph.op("Div", graph.op("Sub", channels, offset), spread)


def cut_tiles(graph: GraphBuilder, pixels: str, rows: AxisPlan, cols: AxisPlan, whole: bool) -> str:
    """:meth:`Tiler.tiles`: ``(B, 3, h, w) -> (B * T, 3, tile h, tile w)``, padding with zeros."""
    op = graph.op
    if not whole:
        for axis, plan in ((2, rows), (4, cols)):
            index = op("Add", op("Unsqueeze", plan.starts, [1]), graph.arange(plan.crop))
            pixels = op("Gather", pixels, index, axis=axis)
        # (B, 3, Ty, ch, Tx, cw) -> (B, Ty, Tx, 3, ch, cw)
        tiles = op("Transpose", pixels, perm=[0, 2, 4, 1, 3, 5])
        pixels = graph.reshape(tiles, -1, 3, rows.crop, cols.crop)
    if not any(isinstance(side, str) for side in (rows.before, rows.after, cols.before, cols.after)):
        return pixels
    return op("Pad", pixels, graph.shape(0, 0, rows.before, cols.before, 0, 0, rows.after, cols.after), 0.0)
