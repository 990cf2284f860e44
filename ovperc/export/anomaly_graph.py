"""Anomaly localization as one ONNX graph: pixels to a map and a score."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import onnx
import torch
from onnx import helper

from ovperc.export.anomaly_towers import HEADS
from ovperc.export.builder import FLOAT, GraphBuilder, finish_model
from ovperc.export.map_ops import axis_operator, by_rows
from ovperc.export.pixel_ops import TILERS, check_resize_op, cut_tiles, in_cells, normalise, plan_axes, resize_pixels
from ovperc.export.render_ops import UPSAMPLERS
from ovperc.export.segmentation_graph import tile_sizes
from ovperc.export.tracing import ENCODER, Traced, trace_tiles

if TYPE_CHECKING:
    from ovperc.export.pixel_ops import AxisPlan
    from ovperc.tasks.anomaly.predictor import AnomalyPredictor


def check_anomaly_exportable(predictor: AnomalyPredictor) -> None:
    """Refuses predictors with a part that has no form in the graph.

    Raises:
        ExportError: naming the part; or a patch memory that has seen nothing.
    """
    HEADS.find(predictor.head).check(predictor.head)
    TILERS.find(predictor.tiler)
    check_resize_op(predictor.method.resize)
    UPSAMPLERS.find(predictor.upsampler)


def anomaly_inputs(predictor: AnomalyPredictor, object_name: str) -> dict[str, np.ndarray]:
    """What the graph compares with: ``texts`` ``(2, E)``, or ``memory_0``, ... ``(M, D)``; float32."""
    return HEADS.find(predictor.head).inputs(predictor, object_name)


def trace_anomaly(
    predictor: AnomalyPredictor, size_hw: tuple[int, int] | None, inputs: Mapping[str, np.ndarray]
) -> Traced:
    """Tower and head of a predictor; the number of tiles and of rows of a memory bank are free.

    Args:
        predictor: in float32 on the CPU.
        size_hw: of the images; ``None`` for any size.
        inputs: from :func:`anomaly_inputs`.

    Raises:
        ExportError: a part that has no form in the graph.
    """
    check_anomaly_exportable(predictor)
    tower = HEADS.find(predictor.head)(predictor).eval()
    _, tile_hw = tile_sizes(predictor.tiler, predictor.backbone.stride_px, size_hw)
    more = {name: torch.from_numpy(value) for name, value in inputs.items()}
    free = {0: torch.export.Dim.DYNAMIC} if tower.free_rows else None
    return Traced({ENCODER: trace_tiles(tower, tile_hw, predictor.preprocess.image_size_px, more, free)})


def assemble_anomaly(
    predictor: AnomalyPredictor,
    traced: Traced,
    inputs: Mapping[str, np.ndarray],
    size_hw: tuple[int, int] | None = None,
) -> onnx.ModelProto:
    """Puts pixels before and the map behind a traced tower.

    Args:
        predictor: its rules of resize, tiles and maps.
        traced: from :func:`trace_anomaly` with the same size, in any precision.
        inputs: from :func:`anomaly_inputs`; they stay inputs of the graph, only their shapes are used.
        size_hw: the one image size of the file; ``None`` for any size.

    Returns:
        Inputs: ``image`` ``(B, H, W, 3)`` uint8 RGB and those of :func:`anomaly_inputs`. Outputs: ``map``
        ``(B, H, W)`` and ``score`` ``(B,)`` float32.
    """
    graph, tiler, patch = GraphBuilder(), predictor.tiler, predictor.backbone.stride_px
    crop_hw, _ = tile_sizes(tiler, patch, size_hw)
    axes = plan_axes(graph, "image", tiler, patch, crop_hw)
    resized = resize_pixels(graph, "image", *axes, predictor.method.resize)
    pixels = normalise(graph, resized, predictor.preprocess.mean, predictor.preprocess.std)
    tiles = cut_tiles(graph, pixels, *axes, whole=crop_hw is None)
    answers = graph.inline(traced.models[ENCODER], "encoder/", tiles, *inputs)
    batch, head = graph.size("image", 0), HEADS.find(predictor.head)
    reduce = "ReduceMax" if predictor.method.tile_score == "max" else "ReduceMean"
    tile_scores = graph.reshape(head.tile_scores(graph, predictor, answers), batch, -1)
    score = graph.op(reduce, tile_scores, [1], keepdims=0)
    for name, made in (("map", _map(graph, predictor, answers[0], axes, batch)), ("score", score)):
        graph.nodes.append(helper.make_node("Identity", [made], [name]))
    sides = ("batch", *(size_hw or ("height", "width")))
    given = [("image", onnx.TensorProto.UINT8, (*sides, 3))]
    for name, value in inputs.items():
        given.append((name, FLOAT, (f"{name}_rows" if head.free_rows else len(value), value.shape[1])))
    return finish_model(graph, "anomaly", given, [("map", FLOAT, sides), ("score", FLOAT, ("batch",))])


def _map(
    graph: GraphBuilder, predictor: AnomalyPredictor, grid: str, axes: tuple[AxisPlan, AxisPlan], batch: str
) -> str:
    """Tiles merged on one grid and upsampled, ``(B, H, W)``."""
    op, patch = graph.op, predictor.backbone.stride_px
    upsample = UPSAMPLERS.find(predictor.upsampler)
    cells = [in_cells(graph, axis, patch) for axis in axes]
    tiles = by_rows(graph, grid, batch, [axis.count(graph) for axis in cells])
    scores = op("Squeeze", tiles, [2])  # (B, Ty * h, Tx * w)
    rows, cols = (
        op(
            "MatMul",
            upsample(graph, predictor.upsampler, cell.original, axis.original),
            axis_operator(graph, cell, cell.crop, crop_padding=False, whole=False),
        )
        for cell, axis in zip(cells, axes, strict=True)
    )
    return op("MatMul", op("MatMul", rows, scores), op("Transpose", cols, perm=[1, 0]))
