"""Words inside an exported graph: stitching and streaming classification as ONNX nodes.

The outer loop takes queries in chunks, the inner one rows of the output in strips, with a running maximum and
sum of exponentials (the online softmax): memory depends neither on the number of words nor on their product
with the pixels, and one file serves two words or two thousand.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import GraphProto, ValueInfoProto

from ovperc.export.builder import BOOL, DOUBLE, FLOAT, INT32, INT64, GraphBuilder, Value, tensor_input
from ovperc.export.pixel_ops import AxisPlan

CHUNK_QUERIES = 256
# Floats per block of pixel scores: large enough to hide the cost of a step, small enough for a cache.
BLOCK_ELEMENTS = 600_000


def axis_operator(graph: GraphBuilder, axis: AxisPlan, grid: Value, crop_padding: bool, whole: bool) -> str:
    """What :class:`ovperc.tiling.Stitcher` applies along an axis: ``(original, windows * grid)`` float32."""
    op = graph.op
    before, after = (axis.before, axis.after) if crop_padding else (0, 0)
    length = op("Add", op("Add", axis.crop, before), after)
    places = op("Add", graph.arange(axis.crop), before)
    lower, upper, share = _linear_taps(graph, grid, length, places)
    columns = graph.arange(grid)

    def one_hot(index: str) -> str:
        return graph.cast(op("Equal", op("Unsqueeze", index, [1]), columns), FLOAT)

    share = op("Unsqueeze", share, [1])
    operator = op("Add", op("Mul", one_hot(lower), op("Sub", 1.0, share)), op("Mul", one_hot(upper), share))
    if not whole:
        operator = _place_windows(graph, axis, operator)
    lower, upper, share = _linear_taps(graph, axis.resized, axis.original, graph.arange(axis.original))
    share = op("Unsqueeze", share, [1])
    low, high = op("Gather", operator, lower), op("Gather", operator, upper)
    return op("Add", low, op("Mul", op("Sub", high, low), share))


def _place_windows(graph: GraphBuilder, axis: AxisPlan, window: str) -> str:
    """The operator of one window ``(crop, grid)`` at all starts, averaged: ``(resized, windows * grid)``."""
    op = graph.op
    offset = op("Sub", op("Unsqueeze", graph.arange(axis.resized), [1]), axis.starts)
    last = op("Sub", axis.crop, 1)
    inside = op("And", op("GreaterOrEqual", offset, 0), op("LessOrEqual", offset, last))
    inside = graph.cast(inside, FLOAT)
    spread = op("Gather", window, op("Min", op("Max", offset, 0), last))
    cover = op("Div", inside, op("ReduceSum", inside, [1], keepdims=1))
    return op("Flatten", op("Mul", spread, op("Unsqueeze", cover, [2])), axis=1)


def _linear_taps(graph: GraphBuilder, source: Value, target: Value, places: str) -> tuple[str, str, str]:
    """Linear interpolation with ``align_corners=False`` at some places of the target: two indices, float32 share."""
    op = graph.op
    half = np.asarray(0.5, dtype=np.float64)
    scale = op("Div", graph.cast(source, DOUBLE), graph.cast(target, DOUBLE))
    centre = op("Sub", op("Mul", op("Add", graph.cast(places, DOUBLE), half), scale), half)
    centre = op("Max", centre, np.asarray(0.0, dtype=np.float64))
    floor = op("Floor", centre)
    lower = graph.cast(floor, INT64)
    upper = op("Min", op("Add", lower, 1), op("Sub", source, 1))
    return lower, upper, graph.cast(op("Sub", centre, floor), FLOAT)


def classify(
    graph: GraphBuilder, embeddings: str, batch: str, axes: tuple[AxisPlan, AxisPlan], crop_padding: bool, whole: bool
) -> tuple[str, str]:
    """:class:`ovperc.text.classifier.StreamingClassifier` on the graph inputs ``text``, ``owners``,
    ``logit_scale`` and ``background_threshold``.

    Args:
        graph: written to.
        embeddings: ``(B * T, E, h, w)`` float32, unit norm over ``E``.
        batch: ``B``.
        axes: plans of rows and columns.
        crop_padding: whether padding is cut off the windows' maps.
        whole: whether the image is one window.

    Returns:
        ``labels (B, H, W)`` int32 and ``confidence (B, H, W)`` float32.
    """
    op = graph.op
    grid = graph.size(embeddings, 2), graph.size(embeddings, 3)
    rows, cols = (axis_operator(graph, axis, side, crop_padding, whole) for axis, side in zip(axes, grid, strict=True))
    counts = [graph.size(graph.constant(a.starts) if not isinstance(a.starts, str) else a.starts, 0) for a in axes]
    tiles = graph.reshape(embeddings, batch, *counts, -1, *grid)
    # (B, Ty, Tx, E, h, w) -> (B, Ty, h, E, Tx, w) -> (B, Ty * h, E, Tx * w)
    rows_first = op("Transpose", tiles, perm=[0, 1, 4, 3, 2, 5])
    embed_dim = graph.size("text", 1)
    patches = graph.reshape(rows_first, batch, graph.size(rows, 1), embed_dim, graph.size(cols, 1))
    return _stream(graph, patches, rows, op("Transpose", cols, perm=[1, 0]), batch)


def _stream(graph: GraphBuilder, patches: str, rows: str, cols: str, batch: str) -> tuple[str, str]:
    op = graph.op
    height, width = graph.size(rows, 0), graph.size(cols, 1)
    queries = graph.size("text", 0)
    chunks = graph.ceil_div(queries, CHUNK_QUERIES)
    chunk = graph.ceil_div(queries, chunks)
    per_row = op("Mul", op("Mul", batch, chunk), width)
    strip = op("Min", op("Max", op("Div", BLOCK_ELEMENTS, per_row), 1), height)
    strips = graph.ceil_div(height, strip)
    missing = op("Sub", op("Mul", strips, strip), height)
    padded = op("Pad", rows, graph.shape(0, 0, missing, 0), 0.0)
    shared = {
        "patches": patches,
        "cols": cols,
        "strips": graph.reshape(padded, strips, strip, graph.size(rows, 1)),
        "text": op("Mul", "text", "logit_scale"),
        "chunk": chunk,
        "sides": graph.shape(batch, strip, -1, graph.size(cols, 0)),
    }
    state_shape = graph.shape(strips, batch, strip, width)
    start = [
        op("Expand", np.asarray(value, dtype), state_shape)
        for value, dtype in ((-np.inf, np.float32), (0, np.int32), (0, np.float32))
    ]
    _, labels, total = op("Loop", chunks, "", *start, outputs=3, body=_chunk_body(graph, shared))
    sides = graph.shape(batch, op("Mul", strips, strip), width)
    labels, total = (
        op("Slice", op("Reshape", op("Transpose", state, perm=[1, 0, 2, 3]), sides), [0], graph.shape(height), [1])
        for state in (labels, total)
    )
    confidence = op("Reciprocal", total)
    below = op("Less", confidence, "background_threshold")
    return op("Where", below, np.asarray(0, np.int32), labels), confidence


def _state(graph: GraphBuilder, names: Sequence[str] | None = None, strips: bool = False) -> list[ValueInfoProto]:
    """Best score, its label and the sum of exponentials of the pixels of a strip (or of all strips), typed.

    Args:
        graph: gives new names.
        names: of values that are there already.
        strips: True for ``(strips, B, r, W)``, False for ``(B, r, W)``.
    """
    names = names or [graph.name(hint) for hint in ("best", "label", "total")]
    sides = (["strips"] if strips else []) + ["batch", "strip", "width"]
    return [tensor_input(name, kind, sides) for name, kind in zip(names, (FLOAT, INT32, FLOAT), strict=True)]


def _chunk_body(graph: GraphBuilder, shared: dict[str, str]) -> GraphProto:
    """Body of the outer loop: one chunk of queries, all pixels."""
    body = graph.body()
    op = body.op
    step, proceed = tensor_input(body.name("step"), INT64, []), tensor_input(body.name("proceed"), BOOL, [])
    state = _state(body, strips=True)
    begin = body.reshape(op("Mul", step.name, shared["chunk"]), 1)
    end = op("Add", begin, body.reshape(shared["chunk"], 1))
    text, owners = (op("Slice", value, begin, end, [0]) for value in (shared["text"], "owners"))
    scores = op("MatMul", text, shared["patches"])  # (B, Ty * h, q, Tx * w)
    codes = op("Sub", 1 << 24, owners)
    inner = {
        "scores": op("Reshape", scores, [0, 0, -1]),
        "owners": body.reshape(body.cast(codes, FLOAT), -1, 1),
        "cols": shared["cols"],
        "sides": shared["sides"],
    }
    states = op(
        "Scan",
        shared["strips"],
        *(entry.name for entry in state),
        outputs=3,
        body=_strip_body(body, inner),
        num_scan_inputs=4,
    )
    keep = tensor_input(op("Identity", proceed.name), BOOL, [])
    return body.graph("queries", [step, proceed, *state], [keep, *_state(body, states, strips=True)])


def _strip_body(graph: GraphBuilder, shared: dict[str, str]) -> GraphProto:
    """Body of the inner loop: one chunk of queries on one strip of rows."""
    body = graph.body()
    op = body.op
    rows = tensor_input(body.name("rows"), FLOAT, ["strip", "places"])
    best, label, total = state = _state(body)
    upright = op("Reshape", op("MatMul", rows.name, shared["scores"]), shared["sides"])
    values = op("MatMul", upright, shared["cols"])  # (B, r, q, W)
    peak = op("ReduceMax", values, [2], keepdims=1)
    # A code falls with the label: of prompts that tie, the lowest label wins, as in the eager classifier.
    codes = op("Where", op("Less", values, peak), 0.0, shared["owners"])
    winner = op("Sub", np.asarray(1 << 24, np.int32), body.cast(op("ReduceMax", codes, [2], keepdims=0), INT32))
    peak = op("Squeeze", peak, [2])
    highest = op("Max", best.name, peak)
    grown = op("ReduceSum", op("Exp", op("Sub", values, op("Unsqueeze", highest, [2]))), [2], keepdims=0)
    kept = op("Mul", total.name, op("Exp", op("Sub", best.name, highest)))
    winner = op("Where", op("Greater", peak, best.name), winner, label.name)
    outputs = [op("Identity", highest), winner, op("Add", kept, grown)]
    return body.graph("strips", [rows, *state], _state(body, outputs))
