"""A detector as one ONNX graph: pixels of one size to boxes and their embeddings; the vocabulary follows it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import numpy as np
import onnx
import torch
from onnx import helper

from ovperc.export.builder import FLOAT, GraphBuilder, finish_model
from ovperc.export.detection_towers import CandidateMaps, RegionDescriber, check_detection_exportable
from ovperc.export.pixel_ops import normalise, plan_axes, resize_pixels
from ovperc.export.tracing import ENCODER, Traced, trace_module

if TYPE_CHECKING:
    from ovperc.tasks.detection.region_detector import RegionDetector
    from ovperc.tasks.detection.rpn import ScoredRPN

_SMALLEST_PX = 1e-3  # torchvision drops thinner candidates
_REGIONS = "regions"


@dataclass(frozen=True)
class DetectorTrace(Traced):
    """The traced modules of a detector.

    Attributes:
        models: ``encoder``, see :class:`CandidateMaps`, and ``regions``, see :class:`RegionDescriber`.
        counts: candidates of each level.
    """

    counts: tuple[int, ...] = ()


def trace_detector(detector: RegionDetector, size_hw: tuple[int, int]) -> DetectorTrace:
    """Traces a detector for images of one size.

    Args:
        detector: in float32 on the CPU.
        size_hw: of the images.
    """
    check_detection_exportable(detector)
    inputs_hw = detector.tiler.plan(size_hw, detector.clip.backbone.stride_px).tile_hw
    maps = CandidateMaps(detector, inputs_hw).eval()
    pixels = torch.zeros(1, 3, *inputs_hw)
    model = trace_module(maps, {"pixels": pixels}, (None,), maps.outputs)
    with torch.no_grad():
        made = dict(zip(maps.outputs, maps(pixels), strict=True))
    inputs = {name: made[name] for name in maps.outputs[:-2]}
    boxes = torch.tensor([[1.0, 1.0, 9.0 + side, 12.0] for side in range(5)])
    shapes = ({0: torch.export.Dim.DYNAMIC}, (None,) * len(inputs))
    describer = RegionDescriber(detector, inputs_hw, size_hw).eval()
    regions = trace_module(describer, {"boxes": boxes, **inputs}, shapes, describer.outputs)
    return DetectorTrace({ENCODER: model, _REGIONS: regions}, tuple(maps.counts))


def assemble_detector(detector: RegionDetector, trace: DetectorTrace, size_hw: tuple[int, int]) -> onnx.ModelProto:
    """Puts pixels before, and proposals between, the traced modules of a detector.

    Args:
        detector: its rules of resize and proposals.
        trace: from :func:`trace_detector` with the same size, in any precision.
        size_hw: the one image size of the file.

    Returns:
        Input: ``image`` ``(1, H, W, 3)`` uint8 RGB. Outputs, of ``R`` regions: ``boxes`` ``(R, 4)`` in pixels of the
        image, ``objectness`` ``(R,)``, ``text`` and ``vlm`` ``(R, E)``, float32.
    """
    graph, preprocess = GraphBuilder(), detector.clip.preprocess
    axes = plan_axes(graph, "image", detector.tiler, detector.clip.backbone.stride_px, None)
    pixels = normalise(graph, resize_pixels(graph, "image", *axes, detector.resize), preprocess.mean, preprocess.std)
    answers = graph.inline(trace.models[ENCODER], "maps/", pixels)
    *maps, logits, candidates = answers
    boxes, objectness = _propose(graph, detector.trained.heads.rpn, logits, candidates, trace.counts)
    found = graph.inline(trace.models[_REGIONS], "regions/", boxes, *maps)
    for made, name in zip((*found, objectness), ("boxes", "text", "vlm", "objectness"), strict=True):
        graph.nodes.append(helper.make_node("Identity", [made], [name]))
    width = detector.clip.backbone.embed_dim
    outputs = [("boxes", FLOAT, ("regions", 4)), ("objectness", FLOAT, ("regions",))]
    outputs += [("text", FLOAT, ("regions", width)), ("vlm", FLOAT, ("regions", width))]
    return finish_model(graph, "detect", [("image", onnx.TensorProto.UINT8, (1, *size_hw, 3))], outputs)


def _propose(graph: GraphBuilder, rpn: ScoredRPN, logits: str, boxes: str, counts: tuple[int, ...]) -> tuple[str, str]:
    """torchvision's proposals: the best of every level, suppressed within it, and the best of all of them."""
    op = graph.op
    kept_boxes, kept_logits, levels = [], [], []
    for index, (begin, end) in enumerate(pairwise(accumulate(counts, initial=0))):
        count = min(rpn.pre_nms_top_n(), end - begin)
        best, rows = op("TopK", op("Slice", logits, [begin], [end]), [count], outputs=2)
        kept_logits.append(best)
        kept_boxes.append(op("Gather", op("Slice", boxes, [begin], [end], [0]), rows))
        levels.append(np.full(count, index, np.int64))
    boxes, scores = op("Concat", *kept_boxes, axis=0), op("Sigmoid", op("Concat", *kept_logits, axis=0))
    sides = op("Sub", op("Slice", boxes, [2], [4], [1]), op("Slice", boxes, [0], [2], [1]))
    wide = op("GreaterOrEqual", op("ReduceMin", sides, [1], keepdims=0), _SMALLEST_PX)
    # Levels stand where the operator has classes: suppression stays within them.
    own = np.concatenate(levels)[None] == np.arange(len(counts))[:, None]
    table = op("Where", op("And", own, wide), scores, -1.0)
    most = int(own.shape[1])
    picked = op(
        "NonMaxSuppression",
        op("Unsqueeze", boxes, [0]),
        op("Unsqueeze", table, [0]),
        most,
        np.asarray([rpn.nms_thresh], np.float32),
        np.asarray([-0.5], np.float32),
    )
    rows = graph.reshape(op("Slice", picked, [2], [3], [1]), -1)
    count = op("Min", graph.size(rows, 0), rpn.post_nms_top_n())
    objectness, order = op("TopK", op("Gather", scores, rows), graph.shape(count), outputs=2)
    return op("Gather", boxes, op("Gather", rows, order)), objectness
