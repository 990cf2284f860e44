"""From a method config to a predictor of segmentation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ovperc.backbones.loading import load_clip
from ovperc.tasks.predictor import PredictorInfo
from ovperc.tasks.segmentation.build import build_segmenter
from ovperc.tasks.segmentation.predictor import SegPredictor
from ovperc.text.encoder import TextEncoder
from ovperc.weights.caches import home

if TYPE_CHECKING:
    from ovperc.tasks.methods import MethodConfig
    from ovperc.tasks.task import LoadOptions


def load_segmentation(config: MethodConfig, options: LoadOptions) -> SegPredictor:
    """Loads a method of segmentation; :func:`ovperc.load` is the way in."""
    published = config.on(None).method
    weights = published.weights if options.weights is None and options.arch is None else options.weights
    clip = load_clip(options.arch, weights, pos_embed=published.pos_embed, device=options.device, dtype=options.dtype)
    resolved = config.on(None if options.as_published else clip.arch)
    method = resolved.method
    return SegPredictor(
        segmenter=build_segmenter(method, clip),
        text_encoder=TextEncoder(clip.text, clip.fingerprint, method.templates, cache_dir=home() / "text"),
        info=PredictorInfo.of(method.name, clip),
        background=options.background,
        resolved=resolved,
    )
