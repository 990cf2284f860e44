"""From a method config to a predictor of segmentation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ovperc.tasks.dual_encoder import load_dual_encoder
from ovperc.tasks.segmentation.build import build_segmenter
from ovperc.tasks.segmentation.predictor import SegPredictor

if TYPE_CHECKING:
    from ovperc.tasks.methods import MethodConfig
    from ovperc.tasks.task import LoadOptions


def load_segmentation(config: MethodConfig, options: LoadOptions) -> SegPredictor:
    """Loads a method of segmentation; :func:`ovperc.load` is the way in."""
    loaded = load_dual_encoder(config, options)
    return SegPredictor(
        segmenter=build_segmenter(loaded.method, loaded.clip),
        text_encoder=loaded.text_encoder(),
        info=loaded.info,
        background=options.background,
        resolved=loaded.resolved,
    )
