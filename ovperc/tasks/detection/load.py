"""From a method config to a predictor of detection."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ovperc.backbones.loading import ClipModel, load_clip
from ovperc.registry import PROPOSERS, TILERS
from ovperc.tasks.detection.method import DetectionMethod
from ovperc.tasks.detection.predictor import DetPredictor
from ovperc.tasks.detection.region_detector import RegionDetector, VlmReadout
from ovperc.tasks.detection.weights import TrainedHeads, read_heads
from ovperc.tasks.predictor import PredictorInfo
from ovperc.text.encoder import TextEncoder
from ovperc.text.region_scores import Fusion
from ovperc.tiling.preprocess import choose_resize
from ovperc.weights.caches import home

if TYPE_CHECKING:
    from ovperc.tasks.methods import MethodConfig
    from ovperc.tasks.task import LoadOptions


def load_detection(config: MethodConfig, options: LoadOptions) -> DetPredictor:
    """Loads a method of detection; :func:`ovperc.load` is the way in."""
    published = config.on(None).method
    weights = published.weights if options.weights is None and options.arch is None else options.weights
    clip = load_clip(options.arch, weights, pos_embed=published.pos_embed, device=options.device, dtype=options.dtype)
    resolved = config.on(None if options.as_published else clip.arch)
    method = resolved.method
    heads = None if method.heads is None else _on_device(read_heads(method.heads, **method.rpn), options.device)
    return DetPredictor(
        build_detector(method, clip, heads),
        TextEncoder(clip.text, clip.fingerprint, method.templates, cache_dir=home() / "text"),
        PredictorInfo.of(method.name, clip),
        compose=method.compose if method.compose is not None else heads is not None and heads.compose,
        background=options.background,
        resolved=resolved,
    )


def build_detector(method: DetectionMethod, clip: ClipModel, heads: TrainedHeads | None = None) -> RegionDetector:
    """Builds a method on a tower, with heads that are already read."""
    proposer = None
    if method.proposer is not None:
        towers = {"device": clip.backbone.device, "dtype": clip.backbone.dtype}
        proposer = PROPOSERS.build({**method.proposer, **towers})
    tiler = TILERS.build({"whole_patches": True, **method.tiler})
    return RegionDetector(
        clip,
        tiler,
        heads,
        proposer,
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
