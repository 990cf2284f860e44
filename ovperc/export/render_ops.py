"""Maps of anomalies from grids of scores, as ONNX nodes: :class:`ovperc.tasks.anomaly.map_upsampler.MapUpsampler`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ovperc.export.builder import DOUBLE, FLOAT, INT64, GraphBuilder, Value
from ovperc.export.parts import GraphBuilders
from ovperc.tasks.anomaly.map_upsampler import MapUpsampler, gaussian_kernel

UPSAMPLERS: GraphBuilders[Callable[[GraphBuilder, Any, Value, Value], str]] = GraphBuilders(
    "upsampler", "use MapUpsampler"
)
"""Operator of one axis, ``(pixels, patches)`` float32, from the upsampler, the number of patches and of pixels."""


@UPSAMPLERS.register(MapUpsampler)
def render_operator(graph: GraphBuilder, upsampler: MapUpsampler, patches: Value, pixels: Value) -> str:
    """``A`` of one axis, ``(pixels, patches)`` float32: box, upsampling, Gaussian and resize."""
    op = graph.op
    length = op("Mul", patches, upsampler.stride_px)
    corners = upsampler.align_corners
    operator = resize_rows(graph, _boxed(graph, upsampler.box, patches), patches, length, corners)
    if upsampler.sigma_px > 0:
        operator = _blurred(graph, operator, length, gaussian_kernel(upsampler.sigma_px).numpy())
    return graph.cast(resize_rows(graph, operator, length, pixels), FLOAT)


def _boxed(graph: GraphBuilder, box: int, patches: Value) -> str:
    """Mean over ``box`` neighbours, the border repeated: ``(patches, patches)`` float64."""
    places, total = graph.arange(patches), None
    for shift in range(-(box // 2), box // 2 + 1):
        near = graph.op("Min", graph.op("Max", graph.op("Add", places, shift), 0), graph.op("Sub", patches, 1))
        one_hot = graph.cast(graph.op("Equal", graph.op("Unsqueeze", near, [1]), places), DOUBLE)
        total = one_hot if total is None else graph.op("Add", total, one_hot)
    return graph.op("Div", total, np.asarray(box, np.float64))


def _blurred(graph: GraphBuilder, operator: str, length: str, kernel: np.ndarray) -> str:
    """Rows smoothed by a kernel; beyond the border they are mirrored, the edge repeated."""
    op = graph.op
    places, twice, total = graph.arange(length), op("Mul", length, 2), None
    for tap, weight in enumerate(kernel):
        # Mod takes the sign of its divisor, as Python's does.
        folded = op("Mod", op("Add", places, tap - len(kernel) // 2), twice)
        mirrored = op("Min", folded, op("Sub", op("Sub", twice, 1), folded))
        part = op("Mul", op("Gather", operator, mirrored), np.asarray(weight, np.float64))
        total = part if total is None else op("Add", total, part)
    return total


def resize_rows(graph: GraphBuilder, operator: str, source: Value, target: Value, corners: bool = False) -> str:
    """Linear interpolation of rows in float64, ``(source, k) -> (target, k)``.

    Args:
        graph: written to.
        operator: ``(source, k)`` float64.
        source: rows there are.
        target: rows wanted.
        corners: outermost rows stay outermost (``align_corners``), where more than one is wanted.
    """
    op = graph.op

    def double(value: float) -> np.ndarray:
        return np.asarray(value, np.float64)

    places = graph.cast(graph.arange(target), DOUBLE)
    if corners:
        gaps = [graph.cast(op("Max", op("Sub", side, 1), least), DOUBLE) for side, least in ((source, 0), (target, 1))]
        centre = op("Mul", places, op("Div", *gaps))
    else:
        scale = op("Div", graph.cast(source, DOUBLE), graph.cast(target, DOUBLE))
        centre = op("Max", op("Sub", op("Mul", op("Add", places, double(0.5)), scale), double(0.5)), double(0.0))
    floor = op("Floor", centre)
    low = op("Min", graph.cast(floor, INT64), op("Sub", source, 1))
    high = op("Min", op("Add", low, 1), op("Sub", source, 1))
    share = op("Unsqueeze", op("Sub", centre, graph.cast(low, DOUBLE)), [1])
    below, above = op("Gather", operator, low), op("Gather", operator, high)
    return op("Add", below, op("Mul", op("Sub", above, below), share))
