"""Tiles merged as features, and SAM's view of the image, as ONNX nodes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import onnx

from ovperc.export.builder import DOUBLE, FLOAT, INT64, GraphBuilder, Value
from ovperc.export.map_ops import axis_operator, by_rows
from ovperc.export.pillow_ops import resize_pillow
from ovperc.export.pixel_ops import AxisPlan, in_cells

if TYPE_CHECKING:
    from ovperc.affinity.sam_correlation import SamCorrelation
    from ovperc.backbones.sam import SamBackbone
    from ovperc.tasks.segmentation.spliced import SplicedSegmenter

Axes = tuple[AxisPlan, AxisPlan]


def embed_spliced(
    graph: GraphBuilder,
    segmenter: SplicedSegmenter,
    tokens: str,
    axes: Axes,
    parts: tuple[onnx.ModelProto, onnx.ModelProto | None],
    ratio: int,
) -> tuple[str, Axes]:
    """:func:`ovperc.tiling.splice.splice` and everything up to the joint space.

    Args:
        graph: written to; its input ``image`` is ``(1, H, W, 3)`` uint8.
        segmenter: the method.
        tokens: ``(T, D, h, w)`` float32 of all tiles of the image.
        axes: plans of rows and columns.
        parts: traced :class:`Projection` and, where there is a SAM, :class:`GlobalStep`.
        ratio: cells of the tiles' grid per patch.

    Returns:
        ``(1, E, h, w)`` unit embeddings, and the plans of the image as one tile, at its original size.
    """
    project, step = parts
    cells = [in_cells(graph, axis, segmenter.clip.backbone.stride_px, ratio) for axis in axes]
    if step is None:
        features, grid = _canvas(graph, tokens, cells)
    else:
        features, grid = _averaged(graph, segmenter.aggregator, tokens, cells, step)
    (rows,) = graph.inline(project, "project/", features)
    embeddings = graph.reshape(graph.op("Transpose", rows, perm=[1, 0]), 1, -1, *grid)
    return embeddings, tuple(as_one_tile(axis) for axis in axes)


def as_one_tile(axis: AxisPlan) -> AxisPlan:
    """:func:`ovperc.tiling.splice.as_one_tile` on one axis: scores are resized once, to the original size."""
    return replace(axis, resized=axis.original, crop=axis.original, starts=[0])


def _averaged(
    graph: GraphBuilder, aggregator: SamCorrelation, tokens: str, cells: list[AxisPlan], step: onnx.ModelProto
) -> tuple[str, list[Value]]:
    """:meth:`SamCorrelation.aggregate`: features ``(n, D)`` and their grid."""
    op, sam = graph.op, aggregator.backbone
    pixels, inside = sam_pixels(graph, sam)
    sides = [op("Max", op("Div", side, sam.stride_px), 1) for side in inside]
    columns = sam.image_size_px // sam.stride_px
    first = op("Unsqueeze", op("Mul", graph.arange(sides[0]), columns), [1])
    valid = graph.reshape(op("Add", first, graph.arange(sides[1])), -1)
    visible = [replace(axis, original=side) for axis, side in zip(cells, sides, strict=True)]
    canvas, _ = _canvas(graph, tokens, visible)
    (mixed,) = graph.inline(step, "step/", canvas, pixels, valid)
    if aggregator.share == 1.0:
        return mixed, sides
    features, grid = _canvas(graph, tokens, cells)
    moved = graph.reshape(op("Sub", mixed, canvas), *sides, -1)
    pairs = zip(grid, sides, strict=True)
    rows, cols = (
        axis_operator(graph, AxisPlan(new, old, old, [0], 0, 0), old, crop_padding=False, whole=True)
        for new, old in pairs
    )
    upright = graph.reshape(op("MatMul", rows, graph.reshape(moved, sides[0], -1)), grid[0], sides[1], -1)
    back = graph.reshape(op("MatMul", cols, upright), op("Mul", *grid), -1)
    return op("Add", features, op("Mul", back, float(aggregator.share))), grid


def _canvas(graph: GraphBuilder, tokens: str, cells: list[AxisPlan]) -> tuple[str, list[Value]]:
    """Tiles placed, averaged where they overlap, and brought to the wanted grid: ``(n, D)``, and that grid."""
    op = graph.op
    counts = [axis.count(graph) for axis in cells]
    rows, cols = (axis_operator(graph, axis, axis.crop, crop_padding=False, whole=False) for axis in cells)
    tiles = by_rows(graph, tokens, 1, counts)  # (1, Ty * h, D, Tx * w)
    channels, across = graph.size(tiles, 2), graph.size(tiles, 3)
    upright = op("MatMul", rows, graph.reshape(tiles, graph.size(tiles, 1), -1))
    grid = [axis.original for axis in cells]
    placed = op("MatMul", graph.reshape(upright, grid[0], channels, across), op("Transpose", cols, perm=[1, 0]))
    return graph.reshape(op("Transpose", placed, perm=[0, 2, 1]), -1, channels), grid


def sam_pixels(graph: GraphBuilder, sam: SamBackbone) -> tuple[str, tuple[str, str]]:
    """:meth:`ovperc.backbones.sam_prompts.SamPrompter.pixels`: resized, normalised and padded to SAM's square.

    Returns:
        ``(1, 3, S, S)`` float32, and the sides of the image inside the square.
    """
    op = graph.op
    sides = graph.size("image", 1), graph.size("image", 2)
    scale = op("Div", np.asarray(sam.image_size_px, np.float64), graph.cast(op("Max", *sides), DOUBLE))
    half = np.asarray(0.5, np.float64)
    inside = [graph.cast(op("Add", op("Mul", graph.cast(side, DOUBLE), scale), half), INT64) for side in sides]
    rows, cols = zip(sides, inside, strict=True)
    pixels = resize_pillow(graph, "image", rows, cols, "bilinear")
    mean, std = (value.float().cpu().numpy().reshape(1, 3, 1, 1) for value in (sam.sam.pixel_mean, sam.sam.pixel_std))
    pixels = op("Div", op("Sub", graph.cast(pixels, FLOAT), mean), std)
    missing = [op("Sub", sam.image_size_px, side) for side in inside]
    return op("Pad", pixels, graph.shape(0, 0, 0, 0, 0, 0, *missing), 0.0), (inside[0], inside[1])
