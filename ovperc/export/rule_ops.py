"""Scores of queries on patches as ONNX nodes, with the logit rules that have a form there.

Rules see all words of a call at once, and the words are inputs: so what a rule needs of all of them is made inside
the graph, in chunks where it meets the patches.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import GraphProto

from ovperc.export.builder import BOOL, FLOAT, INT64, GraphBuilder, Value, tensor_input
from ovperc.export.parts import GraphBuilders
from ovperc.text.foreground import ForegroundRule
from ovperc.text.logit_rules import FeatureSurgery, LogitRule

CHUNK_QUERIES = 256
NAMED_BACKGROUND = "background_named"
_EPSILON = 1e-12  # of torch's normalize
RULES: GraphBuilders[Callable[[GraphBuilder, Any, PatchMaps], QueryScores]] = GraphBuilders(
    "logit rule", "pass logit_rule=None"
)


@dataclass(frozen=True)
class PatchMaps:
    """What a tower says of ``B`` images, as names of values of a graph.

    Attributes:
        patches: ``(B, Ty * h, E, Tx * w)`` unit over ``E``; grids of tiles lie side by side.
        batch: ``B``.
        pooled: ``(B * T, E)``, for rules that read it.
        foreground: ``(B, Ty * h, 1, Tx * w)`` logits, for rules that read it.
    """

    patches: str
    batch: Value
    pooled: str | None = None
    foreground: str | None = None


@dataclass(frozen=True)
class Chunks:
    """Runs of queries: ``count`` of them, each of ``size`` queries but the last; int64 scalars."""

    count: str
    size: str

    @classmethod
    def of_text(cls, graph: GraphBuilder) -> Chunks:
        """As the number of queries asks for."""
        queries = graph.size("text", 0)
        count = graph.ceil_div(queries, CHUNK_QUERIES)
        return cls(count, graph.ceil_div(queries, count))


@dataclass(frozen=True)
class QueryScores:
    """Scores of queries, a chunk at a time.

    Attributes:
        text: ``(1 or B, 1, Q, E)``, times the scale.
        patches: see :class:`PatchMaps`.
        chunks: of the queries.
        peak, total: ``(B, Ty * h, 1, Tx * w)``: with them scores become softmax probabilities of patches.
        background: ``(B, Ty * h, 1, Tx * w)`` bool: there prompts of label 0 have probability 1.
    """

    text: str
    patches: str
    chunks: Chunks
    peak: str | None = None
    total: str | None = None
    background: str | None = None

    @property
    def probabilities(self) -> bool:
        """Whether the scores are probabilities already, so that no softmax follows."""
        return self.total is not None

    def chunk(self, graph: GraphBuilder, step: str) -> tuple[str, str]:
        """Scores ``(B, Ty * h, q, Tx * w)`` and labels ``(q,)`` of one chunk.

        Args:
            graph: body of a loop over chunks.
            step: its counter.
        """
        op = graph.op
        begin = graph.reshape(op("Mul", step, self.chunks.size), 1)
        end = op("Add", begin, graph.reshape(self.chunks.size, 1))
        owners = op("Slice", "owners", begin, end, [0])
        scores = op("MatMul", op("Slice", self.text, begin, end, [2]), self.patches)
        if self.total is None:
            return scores, owners
        probability = op("Div", op("Exp", op("Sub", scores, self.peak)), self.total)
        if self.background is not None:
            of_zero = graph.reshape(op("Equal", owners, 0), 1, 1, -1, 1)
            probability = op("Where", op("And", self.background, of_zero), 1.0, probability)
        return probability, owners


def prepare(graph: GraphBuilder, rule: LogitRule | None, maps: PatchMaps) -> QueryScores:
    """What the loops over queries need, on the graph inputs ``text``, ``owners`` and ``logit_scale``.

    Args:
        graph: written to.
        rule: changes the scores of patches, or None.
        maps: of the images.

    Raises:
        ExportError: a rule that has no form in the graph.
    """
    if rule is None:
        return _scores(graph, graph.op("Unsqueeze", "text", [0, 1]), "logit_scale", maps)
    return RULES.find(rule)(graph, rule, maps)


def _scores(graph: GraphBuilder, text: str, scale: Value, maps: PatchMaps) -> QueryScores:
    return QueryScores(graph.op("Mul", text, scale), maps.patches, Chunks.of_text(graph))


@RULES.register(FeatureSurgery)
def _surgery(graph: GraphBuilder, rule: FeatureSurgery, maps: PatchMaps) -> QueryScores:
    """Queries without what all of them share, ``(B, 1, Q, E)``; see :class:`FeatureSurgery`."""
    op = graph.op
    image = _unit(graph, op("ReduceMean", graph.reshape(maps.pooled, maps.batch, -1, graph.size("text", 1)), [1]))
    cosines = op("MatMul", image, op("Transpose", "text", perm=[1, 0]))  # (B, 1, Q)
    queries = graph.size("text", 0)
    weights = op("Mul", op("Softmax", op("Mul", cosines, float(rule.scale)), axis=-1), graph.cast(queries, FLOAT))
    weighted = op("Mul", op("Unsqueeze", weights, [3]), op("Unsqueeze", "text", [0, 1]))
    changed = op("Sub", weighted, op("ReduceMean", weighted, [2]))
    text = op("Where", op("Equal", queries, 1), op("Unsqueeze", "text", [0, 1]), changed)
    return _scores(graph, text, "logit_scale", maps)


def _unit(graph: GraphBuilder, rows: str) -> str:
    norm = graph.op("ReduceL2", rows, [-1], keepdims=1)
    return graph.op("Div", rows, graph.op("Max", norm, np.asarray(_EPSILON, np.float32)))


@RULES.register(ForegroundRule)
def _probabilities(graph: GraphBuilder, rule: ForegroundRule, maps: PatchMaps) -> QueryScores:
    """Softmax over all queries on every patch, and where background wins; see :class:`ForegroundRule`."""
    op = graph.op
    scores = _scores(graph, op("Unsqueeze", "text", [0, 1]), float(rule.scale), maps)
    height, width = graph.size(maps.patches, 1), graph.size(maps.patches, 3)
    shape = graph.shape(maps.batch, height, 1, width)
    start = [op("Expand", np.asarray(value, np.float32), shape) for value in (-np.inf, 0.0)]
    peak, total = op("Loop", scores.chunks.count, "", *start, outputs=2, body=_softmax_body(graph, scores))
    background = None
    if maps.foreground is not None:
        unsure = op("Less", op("Reciprocal", total), float(rule.delta))
        behind = op("LessOrEqual", maps.foreground, 0.0)
        background = op("And", op("And", unsure, behind), NAMED_BACKGROUND)
    return QueryScores(scores.text, scores.patches, scores.chunks, peak, total, background)


def _softmax_body(graph: GraphBuilder, scores: QueryScores) -> GraphProto:
    """Body of a loop over chunks: largest score and sum of exponentials of every patch."""
    body = graph.body()
    op = body.op
    sides = ["batch", "rows", 1, "columns"]
    step, proceed = tensor_input(body.name("step"), INT64, []), tensor_input(body.name("proceed"), BOOL, [])
    peak, total = (tensor_input(body.name(hint), FLOAT, sides) for hint in ("peak", "total"))
    values, _ = scores.chunk(body, step.name)
    highest = op("Max", peak.name, op("ReduceMax", values, [2], keepdims=1))
    added = op("ReduceSum", op("Exp", op("Sub", values, highest)), [2], keepdims=1)
    grown = op("Add", op("Mul", total.name, op("Exp", op("Sub", peak.name, highest))), added)
    outputs = [tensor_input(op("Identity", highest), FLOAT, sides), tensor_input(grown, FLOAT, sides)]
    return body.graph(
        "patches", [step, proceed, peak, total], [tensor_input(op("Identity", proceed.name), BOOL, []), *outputs]
    )
