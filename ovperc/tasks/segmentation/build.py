"""From a method's config and a tower to a segmenter."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ovperc.registry import AGGREGATORS, GUIDES, LOGIT_RULES, READOUTS, REFINERS, TILERS
from ovperc.tasks.dual_encoder import build_second
from ovperc.tasks.segmentation.segmenter import DenseSegmenter
from ovperc.tasks.segmentation.spliced import SplicedSegmenter
from ovperc.text.classifier import StreamingClassifier
from ovperc.tiling.preprocess import choose_resize

if TYPE_CHECKING:
    from ovperc.backbones.loading import ClipModel
    from ovperc.tasks.segmentation.method import SegMethod

_PART_REGISTRIES = {"readout": READOUTS, "logit_rule": LOGIT_RULES, "refiner": REFINERS}


def build_segmenter(method: SegMethod, clip: ClipModel, *, max_tiles: int = 16, **overrides: Any) -> DenseSegmenter:
    """Builds a method on a tower.

    Args:
        method: parts and numbers; its tiler is scaled to the tower (:meth:`SegMethod.tiler_on`).
        clip: loaded with the method's ``pos_embed``.
        max_tiles: tiles per forward pass.
        **overrides: other parts by field name, as configs or built objects; a ``tiler`` given here is
            taken as it is, without adaptation.

    Raises:
        ValueError: an unknown field or part (near matches are offered), or a tower whose position table
            is resized by another rule than the method's.
    """
    guide = None if isinstance(overrides.get("guide"), Mapping) else overrides.pop("guide", None)
    tiler = overrides.pop("tiler", None) or method.tiler_on(clip.preprocess.image_size_px, clip.backbone.stride_px)
    method = method.replace(**{name: value for name, value in overrides.items() if name not in _PART_REGISTRIES})
    configs = {name: overrides.get(name, getattr(method, name)) for name in _PART_REGISTRIES}
    resized = getattr(clip.backbone, "pos_embed", method.pos_embed)
    if resized != method.pos_embed:
        raise ValueError(
            f"method {method.name!r} resizes position tables by {method.pos_embed!r}, the tower was loaded with "
            f"{resized!r}; use load_clip(..., pos_embed={method.pos_embed!r}), or override pos_embed={resized!r}"
        )
    if method.preprocess:
        clip = dataclasses.replace(clip, preprocess=dataclasses.replace(clip.preprocess, **method.preprocess))
    splice = method.splice or {}
    aggregator = build_second(AGGREGATORS, splice.get("aggregator"), clip)
    configs["refiner"] = _on_shared_sam(configs["refiner"], splice.get("aggregator"), aggregator)
    built: dict[str, Any] = {}
    for name, config in configs.items():
        built[name] = None if config is None else _build_part(name, config, clip)
    built["readout"].to(clip.backbone.device)
    built["guide"] = guide or build_second(GUIDES, method.guide, clip)
    classifier = StreamingClassifier(**method.classifier)
    built |= {"tiler": TILERS.build(tiler), "classifier": classifier, "max_tiles": max_tiles}
    built["resize"] = choose_resize(method.resize, clip.preprocess, built["tiler"])
    if method.splice is None:
        return DenseSegmenter(clip, **built)
    return SplicedSegmenter(clip, aggregator=aggregator, **built)


def _on_shared_sam(refiner: Any, aggregator_config: Any, aggregator: Any) -> Any:
    """A refiner's config with the aggregator's SAM in place of weights of the same name."""
    if not isinstance(refiner, Mapping) or not isinstance(aggregator_config, Mapping):
        return refiner
    weights = refiner.get("weights")
    if weights is None or weights != aggregator_config.get("weights"):
        return refiner
    return {**{key: value for key, value in refiner.items() if key != "weights"}, "backbone": aggregator.backbone}


def _build_part(name: str, part: Any, clip: ClipModel) -> Any:
    if name == "refiner" and isinstance(part, Mapping) and "weights" in part:
        return build_second(REFINERS, part, clip)
    return _PART_REGISTRIES[name].build(part)
