"""From a method config to a predictor of panoptic segmentation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ovperc.registry import PROPOSERS
from ovperc.tasks.dual_encoder import build_second, load_dual_encoder
from ovperc.tasks.panoptic.merging import MergeRule
from ovperc.tasks.panoptic.predictor import PanopticPredictor
from ovperc.tasks.panoptic.segmenter import PanopticSegmenter
from ovperc.tasks.segmentation.build import build_segmenter

if TYPE_CHECKING:
    from ovperc.backbones.loading import ClipModel
    from ovperc.tasks.methods import MethodConfig
    from ovperc.tasks.panoptic.method import PanopticMethod
    from ovperc.tasks.task import LoadOptions


def load_panoptic(config: MethodConfig, options: LoadOptions) -> PanopticPredictor:
    """Loads a method of panoptic segmentation; :func:`ovperc.load` is the way in."""
    loaded = load_dual_encoder(config, options)
    return PanopticPredictor(
        build_panoptic(loaded.method, loaded.clip),
        loaded.text_encoder(),
        loaded.info,
        background=options.background,
        resolved=loaded.resolved,
    )


def build_panoptic(method: PanopticMethod, clip: ClipModel, proposer: Any = None, **parts: Any) -> PanopticSegmenter:
    """Builds a method on a tower.

    Args:
        method: parts and numbers.
        clip: loaded with the method's ``pos_embed``.
        proposer: a built one, in place of the method's.
        **parts: of the semantic method, as for :func:`ovperc.tasks.segmentation.build.build_segmenter`.
    """
    return PanopticSegmenter(
        build_segmenter(method, clip, **parts),
        proposer or build_second(PROPOSERS, method.proposer, clip),
        MergeRule(**method.merge),
    )
