"""Pillow's antialiased resizes inside an exported graph, bit for bit."""

from __future__ import annotations

import numpy as np

from ovperc.export.builder import DOUBLE, GraphBuilder, Value

_BITS = 22  # Pillow keeps weights of a resize in so many bits
_REACH = {"bilinear": 1.0, "bicubic": 2.0}


def resize_pillow(
    graph: GraphBuilder, image: str, rows: tuple[Value, Value], cols: tuple[Value, Value], rule: str
) -> str:
    """Columns first, then rows, each rounded to whole numbers: ``(B, H, W, 3) uint8 -> (B, 3, h, w)`` in 0..255.

    Args:
        graph: written to.
        image: name of the value.
        rows: height before and after.
        cols: width before and after.
        rule: ``bilinear`` or ``bicubic``.

    Returns:
        Whole numbers as float64, which holds the sums exactly.
    """
    pixels = graph.op("Transpose", graph.cast(image, DOUBLE), perm=[0, 3, 1, 2])
    across = graph.op("Transpose", pillow_matrix(graph, *cols, rule), perm=[1, 0])
    pixels = _rounded(graph, graph.op("MatMul", pixels, across))
    return _rounded(graph, graph.op("MatMul", pillow_matrix(graph, *rows, rule), pixels))


def pillow_matrix(graph: GraphBuilder, source: Value, target: Value, rule: str) -> str:
    """Weights of one axis: whole numbers ``(target, source)`` as float64, rows sum to about ``2 ** 22``."""
    op = graph.op
    scale = op("Div", graph.cast(source, DOUBLE), graph.cast(target, DOUBLE))
    centre = op("Mul", op("Add", graph.cast(graph.arange(target), DOUBLE), _double(0.5)), scale)
    places = op("Add", graph.cast(graph.arange(source), DOUBLE), _double(0.5))
    wide = op("Max", scale, _double(1.0))
    distance = op("Div", op("Abs", op("Sub", places, op("Unsqueeze", centre, [1]))), wide)
    weights = (_triangle if rule == "bilinear" else _cubic)(graph, distance)
    weights = op("Where", op("Less", distance, _double(_REACH[rule])), weights, _double(0.0))
    weights = op("Div", weights, op("ReduceSum", weights, [1], keepdims=1))
    scaled = op("Mul", weights, _double(1 << _BITS))
    # Halves are rounded away from zero.
    whole = op("Floor", op("Add", op("Abs", scaled), _double(0.5)))
    return op("Mul", whole, op("Sign", scaled))


def _triangle(graph: GraphBuilder, distance: str) -> str:
    return graph.op("Sub", _double(1.0), distance)


def _cubic(graph: GraphBuilder, distance: str) -> str:
    """Keys' kernel with a = -0.5: ``1.5 d^3 - 2.5 d^2 + 1`` up to 1, ``-0.5 d^3 + 2.5 d^2 - 4 d + 2`` up to 2."""
    near = _polynomial(graph, distance, (1.5, -2.5, 0.0, 1.0))
    far = _polynomial(graph, distance, (-0.5, 2.5, -4.0, 2.0))
    return graph.op("Where", graph.op("Less", distance, _double(1.0)), near, far)


def _polynomial(graph: GraphBuilder, value: str, coefficients: tuple[float, ...]) -> str:
    """Horner's rule, highest power first."""
    total = graph.constant(_double(coefficients[0]))
    for coefficient in coefficients[1:]:
        total = graph.op("Add", graph.op("Mul", total, value), _double(coefficient))
    return total


def _rounded(graph: GraphBuilder, sums: str) -> str:
    """Weighted sums back to 0..255."""
    half, one = _double(1 << (_BITS - 1)), _double(1 << _BITS)
    whole = graph.op("Floor", graph.op("Div", graph.op("Add", sums, half), one))
    return graph.op("Min", graph.op("Max", whole, _double(0.0)), _double(255.0))


def _double(value: float) -> np.ndarray:
    return np.asarray(value, np.float64)
