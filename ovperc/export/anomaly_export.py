"""Anomaly localization as one ONNX graph: pixels to a map and a score."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import helper
from torch import Tensor, nn

from ovperc.export.builder import DOUBLE, FLOAT, INT64, GraphBuilder
from ovperc.export.graph import ExportError
from ovperc.export.map_ops import axis_operator, by_rows
from ovperc.export.onnx_export import Convert, finish_model, window_sizes
from ovperc.export.pillow_ops import resize_pillow
from ovperc.export.pixel_ops import cut_windows, in_cells, normalise, plan_axes, resize_bilinear
from ovperc.export.render_ops import render_operator
from ovperc.export.tracing import trace_windows
from ovperc.tasks.anomaly.patch_memory import PatchMemoryHead
from ovperc.tasks.anomaly.state_texts import StateTexts
from ovperc.tasks.anomaly.text_map import TextMapHead

if TYPE_CHECKING:
    from ovperc.export.pixel_ops import AxisPlan
    from ovperc.tasks.anomaly.predictor import AnomalyPredictor


def check_anomaly_exportable(predictor: AnomalyPredictor) -> None:
    """Refuses heads that have no form in the graph.

    Raises:
        ExportError: naming the head; or a patch memory that has seen nothing.
    """
    head = predictor.head
    if type(head) not in (TextMapHead, PatchMemoryHead):
        raise ExportError(
            f"the head {type(head).__name__} has no exported form; use anomalyclip, clip_baseline or patch_memory"
        )
    if isinstance(head, TextMapHead) and head.views:
        raise ExportError("turned copies of the image are not exported; pass head.views=False")
    if isinstance(head, PatchMemoryHead) and not head.banks:
        raise ExportError("patch memory has seen no normal images; pass --normal FOLDER, or fit(images) first")


class TextMapTower(nn.Module):
    """Windows and the two text vectors to scores.

    Args:
        predictor: with a :class:`TextMapHead`.
    """

    outputs: tuple[str, ...] = ("grid", "image")

    def __init__(self, predictor: AnomalyPredictor) -> None:
        super().__init__()
        self.backbone, self.head = predictor.backbone, predictor.head

    def forward(self, windows: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
        """``(T, 3, h, w)`` and ``(2, E)``, flawless then damaged, to ``(T, 1, h, w)`` and ``(T,)``, float32."""
        (texts,) = inputs
        features = self.head.read(self.backbone, windows)
        scores = self.head.score(self.backbone, features, StateTexts(texts[0], texts[1], texts[:0]))
        return scores.grid, scores.image


class MemoryTower(nn.Module):
    """Windows and remembered patches to distances.

    Args:
        predictor: with a fitted :class:`PatchMemoryHead`.
    """

    outputs: tuple[str, ...] = ("grid",)

    def __init__(self, predictor: AnomalyPredictor) -> None:
        super().__init__()
        self.backbone, self.head = predictor.backbone, predictor.head

    def forward(self, windows: Tensor, *banks: Tensor) -> tuple[Tensor, ...]:
        """``(T, 3, h, w)`` and one ``(M, D)`` for each tap to ``(T, 1, h, w)`` float32."""
        head = self.head
        features = head.read(self.backbone, windows)
        pairs = zip(head.describe(features), banks, strict=True)
        distances = [self._distances(stream.float(), bank) for stream, bank in pairs]
        return (torch.stack(distances).mean(dim=0).unflatten(-1, features.grid_hw)[:, None],)

    def _distances(self, tokens: Tensor, rows: Tensor) -> Tensor:
        """As :meth:`PatchBank.distances` in one piece, ``(T, n, D) -> (T, n)``: a trace cannot count pieces."""
        head = self.head
        if head.metric == "cos":
            table = (1 - F.normalize(tokens, dim=-1) @ rows.T).clamp(min=0)
        else:
            squares = tokens.square().sum(dim=-1, keepdim=True) - 2 * (tokens @ rows.T) + rows.square().sum(dim=1)
            table = squares.clamp(min=0).sqrt()
        count = min(head.neighbours, *(len(bank.rows) for bank in head.banks))
        return table.amin(dim=-1) if count == 1 else table.topk(count, dim=-1, largest=False).values.mean(dim=-1)


def anomaly_inputs(predictor: AnomalyPredictor, object_name: str) -> dict[str, np.ndarray]:
    """What the graph compares with: ``texts`` ``(2, E)``, or ``memory_0``, ... ``(M, D)``; float32."""
    if isinstance(predictor.head, PatchMemoryHead):
        banks = enumerate(predictor.head.banks)
        return {f"memory_{index}": bank.rows.float().cpu().numpy() for index, bank in banks}
    texts = predictor.texts(object_name)
    return {"texts": torch.stack([texts.normal, texts.abnormal]).float().cpu().numpy()}


def trace_anomaly(
    predictor: AnomalyPredictor, size_hw: tuple[int, int] | None, inputs: dict[str, np.ndarray]
) -> onnx.ModelProto:
    """The tower and head of a predictor; the number of windows and of remembered patches are free.

    Args:
        predictor: in float32 on the CPU.
        size_hw: of the images; ``None`` for any size.
        inputs: from :func:`anomaly_inputs`.
    """
    check_anomaly_exportable(predictor)
    memory = isinstance(predictor.head, PatchMemoryHead)
    tower = (MemoryTower if memory else TextMapTower)(predictor).eval()
    _, tile_hw = window_sizes(predictor.tiler, predictor.backbone.stride_px, size_hw)
    more = {name: torch.from_numpy(value) for name, value in inputs.items()}
    free = {0: torch.export.Dim.DYNAMIC} if memory else None
    return trace_windows(tower, tile_hw, predictor.preprocess.image_size_px, more, free)


def export_anomaly(
    predictor: AnomalyPredictor,
    inputs: dict[str, np.ndarray],
    size_hw: tuple[int, int] | None = None,
    convert_tower: Convert | None = None,
    tower: onnx.ModelProto | None = None,
) -> onnx.ModelProto:
    """A predictor as one graph.

    Args:
        predictor: in float32 on the CPU.
        inputs: from :func:`anomaly_inputs`; they stay inputs of the graph, only their shapes are used.
        size_hw: the one image size of the file; ``None`` for any size.
        convert_tower: changes the precision of the traced tower.
        tower: from :func:`trace_anomaly`, to save its time.

    Returns:
        Inputs: ``image`` ``(B, H, W, 3)`` uint8 RGB and those of :func:`anomaly_inputs`. Outputs: ``map``
        ``(B, H, W)`` and ``score`` ``(B,)`` float32.
    """
    tower = tower or trace_anomaly(predictor, size_hw, inputs)
    graph, tiler, patch = GraphBuilder(), predictor.tiler, predictor.backbone.stride_px
    crop_hw, _ = window_sizes(tiler, patch, size_hw)
    axes = plan_axes(graph, "image", tiler, patch, crop_hw)
    windows = cut_windows(graph, _pixels(graph, predictor, axes), *axes, whole=crop_hw is None)
    converted = tower if convert_tower is None else convert_tower(tower)
    answers = graph.inline(converted, "encoder/", windows, *inputs)
    batch = graph.size("image", 0)
    score = _score(graph, predictor, answers, batch)
    for name, made in (("map", _map(graph, predictor, answers[0], axes, batch)), ("score", score)):
        graph.nodes.append(helper.make_node("Identity", [made], [name]))
    sides = ("batch", *(size_hw or ("height", "width")))
    given = [("image", onnx.TensorProto.UINT8, (*sides, 3))]
    for name, value in inputs.items():
        rows = len(value) if name == "texts" else f"{name}_rows"
        given.append((name, FLOAT, (rows, value.shape[1])))
    return finish_model(graph, "anomaly", given, [("map", FLOAT, sides), ("score", FLOAT, ("batch",))])


def _pixels(graph: GraphBuilder, predictor: AnomalyPredictor, axes: tuple[AxisPlan, AxisPlan]) -> str:
    """Resized by the method's rule and normalised, ``(B, 3, h, w)`` float32."""
    rule = predictor.method.resize
    if rule == "opencv":
        pixels = resize_bilinear(graph, "image", *axes)
    else:
        pairs = [(axis.original, axis.resized) for axis in axes]
        pixels = graph.op("Transpose", resize_pillow(graph, "image", *pairs, rule), perm=[0, 2, 3, 1])
    return normalise(graph, pixels, predictor.preprocess.mean, predictor.preprocess.std)


def _score(graph: GraphBuilder, predictor: AnomalyPredictor, answers: tuple[str, ...], batch: str) -> str:
    """Score of every image, ``(B,)``: of its highest window, or their mean."""
    op = graph.op
    if len(answers) > 1:
        windows = answers[1]
    else:
        flat = graph.reshape(answers[0], graph.size(answers[0], 0), -1)
        share = op("Mul", graph.cast(graph.size(flat, 1), DOUBLE), np.asarray(predictor.head.peak_share, np.float64))
        count = op("Max", graph.cast(op("Round", share), INT64), 1)
        highest, _ = op("TopK", flat, graph.shape(count), outputs=2, axis=1)
        windows = op("ReduceMean", highest, [1], keepdims=0)
    reduce = "ReduceMax" if predictor.method.tile_score == "max" else "ReduceMean"
    return op(reduce, graph.reshape(windows, batch, -1), [1], keepdims=0)


def _map(
    graph: GraphBuilder, predictor: AnomalyPredictor, grid: str, axes: tuple[AxisPlan, AxisPlan], batch: str
) -> str:
    """Windows merged on one grid and rendered, ``(B, H, W)``; see :class:`MapUpsampler`."""
    op, patch = graph.op, predictor.backbone.stride_px
    cells = [in_cells(graph, axis, patch) for axis in axes]
    tiles = by_rows(graph, grid, batch, [axis.count(graph) for axis in cells])
    scores = op("Squeeze", tiles, [2])  # (B, Ty * h, Tx * w)
    rows, cols = (
        op(
            "MatMul",
            render_operator(graph, predictor.upsampler, cell.original, axis.original),
            axis_operator(graph, cell, cell.crop, crop_padding=False, whole=False),
        )
        for cell, axis in zip(cells, axes, strict=True)
    )
    return op("MatMul", op("MatMul", rows, scores), op("Transpose", cols, perm=[1, 0]))
