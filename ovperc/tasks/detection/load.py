"""From a method config to a predictor of detection."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ovperc.backbones.loading import ClipModel
from ovperc.registry import PROPOSERS, TILERS
from ovperc.tasks.detection.method import DetectionMethod
from ovperc.tasks.detection.predictor import DetPredictor
from ovperc.tasks.detection.region_detector import RegionDetector, VlmReadout
from ovperc.tasks.detection.weights import TrainedHeads, read_heads
from ovperc.tasks.dual_encoder import build_second, load_dual_encoder
from ovperc.text.region_scores import Fusion
from ovperc.tiling.preprocess import choose_resize

if TYPE_CHECKING:
    from ovperc.tasks.methods import MethodConfig
    from ovperc.tasks.task import LoadOptions


def load_detection(config: MethodConfig, options: LoadOptions) -> DetPredictor:
    """Loads a method of detection; :func:`ovperc.load` is the way in."""
    loaded = load_dual_encoder(config, options)
    method = loaded.method
    heads = None if method.heads is None else _on_device(read_heads(method.heads, **method.rpn), options.device)
    return DetPredictor(
        build_detector(method, loaded.clip, heads),
        loaded.text_encoder(),
        loaded.info,
        compose=method.compose if method.compose is not None else heads is not None and heads.compose,
        background=options.background,
        resolved=loaded.resolved,
    )


def build_detector(method: DetectionMethod, clip: ClipModel, heads: TrainedHeads | None = None) -> RegionDetector:
    """Builds a method on a tower, with heads that are already read."""
    tiler = TILERS.build({"whole_patches": True, **method.tiler})
    return RegionDetector(
        clip,
        tiler,
        heads,
        build_second(PROPOSERS, method.proposer, clip),
        VlmReadout(**method.vlm),
        Fusion(**method.fusion),
        method.nms_iou,
        method.max_detections,
        method.min_score,
        resize=choose_resize(method.resize, clip.preprocess, tiler),
    )


def _on_device(heads: TrainedHeads, device: torch.device | str) -> TrainedHeads:
    heads.heads.to(device)
    if heads.resnet is not None:
        heads.resnet.to(device)
    return heads
