"""Builds anomaly predictors from a method's config and a tower's weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ovperc.backbones.dino import VisionModel, load_dino
from ovperc.backbones.loading import ClipModel, load_clip
from ovperc.core.naming import suggest
from ovperc.registry import TILERS
from ovperc.tasks.anomaly.head import HEADS
from ovperc.tasks.anomaly.learned_prompts import LearnedPrompts, PromptTexts
from ovperc.tasks.anomaly.map_upsampler import MapUpsampler
from ovperc.tasks.anomaly.method import AnomalyMethod
from ovperc.tasks.anomaly.predictor import AnomalyPredictor
from ovperc.tasks.anomaly.state_texts import ComposedTexts, StateTextSource
from ovperc.tasks.predictor import PredictorInfo
from ovperc.tiling.preprocess import choose_resize
from ovperc.weights.architectures import arch_config
from ovperc.weights.catalogue import CATALOGUE, list_weights
from ovperc.weights.layouts import family_of
from ovperc.weights.locate import locate_tower

if TYPE_CHECKING:
    from ovperc.tasks.methods import MethodConfig
    from ovperc.tasks.task import LoadOptions

_TEXTS = ("ComposedTexts", "PromptTexts")


def load_anomaly(config: MethodConfig, options: LoadOptions) -> AnomalyPredictor:
    """Loads an anomaly method; use :func:`ovperc.load`.

    Heads that use no text also accept image towers (``"dino-mini"``, ``"dinov2-vitb14-reg"``, a file, a hub name).

    Raises:
        FileNotFoundError: weights or prompts are missing.
        ValueError: the weights do not suit the method, a background is given, or a component is unknown.
    """
    if options.background is not None:
        raise ValueError("background is an option of segmentation and detection; anomaly methods take an object name")
    published, arch = cast("AnomalyMethod", config.on(None).method), options.arch
    weights = published.weights if options.weights is None and arch is None else options.weights
    towers: dict[str, Any] = {"pos_embed": published.pos_embed, "device": options.device, "dtype": options.dtype}
    model: ClipModel | VisionModel
    if _is_vision(weights, arch) or (published.texts is None and arch is None and _holds_vision(weights)):
        if published.texts is not None:
            raise ValueError(
                f"method {published.name!r} needs a text tower, which {weights or arch} lacks; use weights of a "
                "dual encoder such as 'clip-mini', or patch_memory"
            )
        model = load_dino(weights or "random", arch, **towers)
    else:
        model = load_clip(arch, weights, **towers)
    resolved = config.on(None if options.as_published else model.arch)
    return build_predictor(cast("AnomalyMethod", resolved.method), model, resolved=resolved)


def build_predictor(method: AnomalyMethod, model: ClipModel | VisionModel, **changes: Any) -> AnomalyPredictor:
    """Builds a method on a loaded tower.

    Args:
        method: method with resolved settings.
        model: the tower.
        **changes: fields of :class:`AnomalyPredictor`.
    """
    backbone = model.backbone
    head = HEADS.build(dict(method.head)).to(backbone.device).eval()
    if head.reads_text and method.texts is None:
        raise ValueError(f"method {method.name!r} needs texts=dict(type='ComposedTexts' | 'PromptTexts', ...)")
    tiler = TILERS.build(dict(method.tiler))
    method = method.replace(resize=choose_resize(method.resize, model.preprocess, tiler))
    texts = _texts(method, model) if head.reads_text else None
    info = PredictorInfo.of(method.name, model)
    upsampler = MapUpsampler(backbone.stride_px, **{"combine": head.combine, **method.upsampler})
    parts = {"backbone": backbone, "preprocess": model.preprocess, "head": head, "tiler": tiler, "upsampler": upsampler}
    return AnomalyPredictor(**{**parts, "texts": texts, "info": info, "method": method, **changes})


def _texts(method: AnomalyMethod, model: ClipModel | VisionModel) -> StateTextSource:
    settings = dict(method.texts or {})
    kind = settings.pop("type")
    if kind not in _TEXTS:
        raise ValueError(f"unknown texts {kind!r}; {suggest(str(kind), _TEXTS)}")
    if not isinstance(model, ClipModel):
        raise ValueError(f"method {method.name!r} needs a text tower; {model.source} has none")
    if kind == "ComposedTexts":
        return ComposedTexts(model.text, **settings)
    source = settings.pop("source", None)
    if settings or source is None:
        raise ValueError(
            "PromptTexts needs learned prompts for this tower as source: 'anomalyclip-mini', or a file such as the "
            "authors' epoch_15.pth: load('anomalyclip', WEIGHTS, **{'texts.source': FILE})"
        )
    return PromptTexts(model.text, source if isinstance(source, LearnedPrompts) else LearnedPrompts.from_file(source))


def _is_vision(weights: str | Path | None, arch: str | None) -> bool:
    """Whether the names refer to an image tower without a text tower."""
    families = {entry.name: entry.family for entry in CATALOGUE}
    if str(weights) in families:
        return families[str(weights)] == "vision"
    if arch is None or arch.startswith("hf-hub:") or any(row.arch == arch for row in CATALOGUE if row.family == "clip"):
        return False
    try:
        arch_config(arch)
    except ValueError:
        return True
    return False


def _holds_vision(weights: str | Path | None) -> bool:
    """Whether a file, folder, hub repository or timm name refers to an image tower without a text tower."""
    if weights is None or str(weights) == "random" or str(weights) in list_weights():
        return False
    try:
        source = locate_tower(weights, "vision")
    except ValueError:  # an open_clip name
        return False
    return family_of(source) == "vision"
