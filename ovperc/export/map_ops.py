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
from ovperc.export.rule_ops import PatchMaps, QueryScores, prepare
from ovperc.text.logit_rules import LogitRule

# Floats per block of pixel scores: large enough to hide the cost of a step, small enough for a cache.
BLOCK_ELEMENTS = 600_000


def axis_operator(graph: GraphBuilder, axis: AxisPlan, grid: Value, crop_padding: bool, whole: bool) -> str:
    """What :class:`ovperc.tiling.Stitcher` applies along an axis: ``(original, tiles * grid)`` float32."""
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
        operator = _place_tiles(graph, axis, operator)
    lower, upper, share = _linear_taps(graph, axis.resized, axis.original, graph.arange(axis.original))
    share = op("Unsqueeze", share, [1])
    low, high = op("Gather", operator, lower), op("Gather", operator, upper)
    return op("Add", low, op("Mul", op("Sub", high, low), share))


def _place_tiles(graph: GraphBuilder, axis: AxisPlan, tile: str) -> str:
    """The operator of one tile ``(crop, grid)`` at all starts, averaged: ``(resized, tiles * grid)``."""
    op = graph.op
    offset = op("Sub", op("Unsqueeze", graph.arange(axis.resized), [1]), axis.starts)
    last = op("Sub", axis.crop, 1)
    inside = op("And", op("GreaterOrEqual", offset, 0), op("LessOrEqual", offset, last))
    inside = graph.cast(inside, FLOAT)
    spread = op("Gather", tile, op("Min", op("Max", offset, 0), last))
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
    graph: GraphBuilder,
    tower: dict[str, str],
    batch: Value,
    axes: tuple[AxisPlan, AxisPlan],
    crop_padding: bool,
    whole: bool,
    rule: LogitRule | None = None,
) -> tuple[str, str]:
    """:class:`ovperc.text.classifier.StreamingClassifier` on the graph inputs ``text``, ``owners``,
    ``logit_scale`` and ``background_threshold``.

    Args:
        graph: written to.
        tower: outputs of the tower by name, for ``B * T`` tiles: ``embeddings`` ``(B * T, E, h, w)`` float32, unit
            norm over ``E``, and what the rule reads.
        batch: ``B``.
        axes: plans of rows and columns.
        crop_padding: whether padding is cut off the tiles' maps.
        whole: whether the image is one tile.
        rule: changes the scores of patches.

    Returns:
        ``labels (B, H, W)`` int32 and ``confidence (B, H, W)`` float32.
    """
    embeddings = tower["embeddings"]
    grid = graph.size(embeddings, 2), graph.size(embeddings, 3)
    rows, cols = (axis_operator(graph, axis, side, crop_padding, whole) for axis, side in zip(axes, grid, strict=True))
    counts = [axis.count(graph) for axis in axes]
    patches = by_rows(graph, embeddings, batch, counts)
    foreground = None
    if "foreground" in tower:
        foreground = by_rows(graph, graph.op("Unsqueeze", tower["foreground"], [1]), batch, counts)
    maps = PatchMaps(patches, batch, tower.get("pooled"), foreground)
    return _stream(graph, prepare(graph, rule, maps), maps, rows, graph.op("Transpose", cols, perm=[1, 0]))


def by_rows(graph: GraphBuilder, tiles: str, batch: Value, counts: Sequence[Value]) -> str:
    """Grids of tiles side by side: ``(B * Ty * Tx, C, h, w) -> (B, Ty * h, C, Tx * w)``."""
    channels, height, width = (graph.size(tiles, axis) for axis in (1, 2, 3))
    apart = graph.reshape(tiles, batch, *counts, channels, height, width)
    rows_first = graph.op("Transpose", apart, perm=[0, 1, 4, 3, 2, 5])
    sides = [graph.op("Mul", count, side) for count, side in zip(counts, (height, width), strict=True)]
    return graph.reshape(rows_first, batch, sides[0], channels, sides[1])


def _stream(graph: GraphBuilder, scores: QueryScores, maps: PatchMaps, rows: str, cols: str) -> tuple[str, str]:
    op, chunks = graph.op, scores.chunks
    height, width = graph.size(rows, 0), graph.size(cols, 1)
    per_row = op("Mul", op("Mul", maps.batch, chunks.size), width)
    strip = op("Min", op("Max", op("Div", BLOCK_ELEMENTS, per_row), 1), height)
    strips = graph.ceil_div(height, strip)
    missing = op("Sub", op("Mul", strips, strip), height)
    padded = op("Pad", rows, graph.shape(0, 0, missing, 0), 0.0)
    strip_rows = graph.reshape(padded, strips, strip, graph.size(rows, 1))
    inner = {"cols": cols, "sides": graph.shape(maps.batch, strip, -1, graph.size(cols, 0))}
    state_shape = graph.shape(strips, maps.batch, strip, width)
    start = [
        op("Expand", np.asarray(value, dtype), state_shape)
        for value, dtype in ((-np.inf, np.float32), (0, np.int32), (0, np.float32))
    ]
    body = _chunk_body(graph, scores, strip_rows, inner)
    state = op("Loop", chunks.count, "", *start, outputs=3, body=body)
    sides = graph.shape(maps.batch, op("Mul", strips, strip), width)
    best, labels, total = (
        op("Slice", op("Reshape", op("Transpose", part, perm=[1, 0, 2, 3]), sides), [0], graph.shape(height), [1])
        for part in state
    )
    confidence = op("Reciprocal", total)
    if scores.probabilities:
        share = op("Div", best, total)
        confidence = op("Clip", op("Where", op("Greater", total, 0.0), share, 0.0), 0.0, 1.0)
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


def _chunk_body(graph: GraphBuilder, scores: QueryScores, strip_rows: str, shared: dict[str, str]) -> GraphProto:
    """Body of the outer loop: one chunk of queries, all pixels."""
    body = graph.body()
    op = body.op
    step, proceed = tensor_input(body.name("step"), INT64, []), tensor_input(body.name("proceed"), BOOL, [])
    state = _state(body, strips=True)
    values, owners = scores.chunk(body, step.name)  # (B, Ty * h, q, Tx * w) and (q,)
    codes = op("Sub", 1 << 24, owners)
    inner = {
        "scores": op("Reshape", values, [0, 0, -1]),
        "owners": body.reshape(body.cast(codes, FLOAT), -1, 1),
        **shared,
    }
    states = op(
        "Scan",
        strip_rows,
        *(entry.name for entry in state),
        outputs=3,
        body=_strip_body(body, inner, scores.probabilities),
        num_scan_inputs=4,
    )
    keep = tensor_input(op("Identity", proceed.name), BOOL, [])
    return body.graph("queries", [step, proceed, *state], [keep, *_state(body, states, strips=True)])


def _strip_body(graph: GraphBuilder, shared: dict[str, str], probabilities: bool) -> GraphProto:
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
    winner = op("Where", op("Greater", peak, best.name), winner, label.name)
    if probabilities:
        grown = op("Add", total.name, op("ReduceSum", values, [2], keepdims=0))
    else:
        added = op("ReduceSum", op("Exp", op("Sub", values, op("Unsqueeze", highest, [2]))), [2], keepdims=0)
        grown = op("Add", op("Mul", total.name, op("Exp", op("Sub", best.name, highest))), added)
    return body.graph("strips", [rows, *state], _state(body, [op("Identity", highest), winner, grown]))
