"""From a method's config to a predictor on the weights of a tower."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch

from ovperc.backbones.dino import VisionModel, load_dino
from ovperc.backbones.loading import ClipModel, load_clip
from ovperc.backbones.mini_archs import ARCH as CLIP_MINI
from ovperc.core.naming import suggest
from ovperc.registry import TILERS
from ovperc.tasks.anomaly.head import HEADS
from ovperc.tasks.anomaly.learned_prompts import LearnedPrompts, PromptTexts
from ovperc.tasks.anomaly.map_upsampler import MapUpsampler
from ovperc.tasks.anomaly.method import AnomalyMethod
from ovperc.tasks.anomaly.predictor import AnomalyPredictor
from ovperc.tasks.anomaly.state_texts import ComposedTexts, StateTextSource
from ovperc.tasks.segmentation.predictor import PredictorInfo
from ovperc.weights.architectures import arch_config
from ovperc.weights.catalogue import CATALOGUE

_TEXTS = ("ComposedTexts", "PromptTexts")


def load_anomaly(
    method: AnomalyMethod,
    asked: Collection[str] = (),
    *,
    weights: str | Path | None = None,
    arch: str | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    background: Any = None,
) -> AnomalyPredictor:
    """Loads a method of anomaly localization.

    Args:
        method: its config.
        asked: fields that the user chose by hand; they are not adapted to the tower.
        weights: as for :func:`ovperc.load`; heads without words also take image towers (``"dino-mini"``,
            ``"dinov2-vitb14-reg"``). Left out, the method's own, or clip-mini.
        arch: open_clip architecture, or timm's for image towers, where the weights do not tell.
        device: where it computes.
        dtype: of the tower's weights; scores are float32.
        background: not used by this task; must be None.

    Raises:
        FileNotFoundError: weights or prompts that are not here.
        ValueError: weights that do not fit the method, or unknown parts.
    """
    if background is not None:
        raise ValueError("background belongs to segmentation; anomaly methods take the object's name instead")
    weights = method.weights if weights is None and arch is None else weights
    if _is_vision(weights, arch):
        if method.texts is not None:
            raise ValueError(
                f"method {method.name!r} compares with words, which {weights or arch} cannot read; use weights of a "
                "dual encoder such as 'clip-mini', or patch_memory"
            )
        model = load_dino(weights or "random", arch, pos_embed=method.pos_embed, device=device, dtype=dtype)
    else:
        model = load_clip(arch, weights, pos_embed=method.pos_embed, device=device, dtype=dtype)
    return build_predictor(method.on(model.arch, asked), model)


def build_predictor(method: AnomalyMethod, model: ClipModel | VisionModel, **changes: Any) -> AnomalyPredictor:
    """Builds a method on a tower that is loaded.

    Args:
        method: as it is to be used; see :meth:`AnomalyMethod.on`.
        model: the tower.
        **changes: fields of :class:`AnomalyPredictor`.
    """
    backbone = model.backbone
    head = HEADS.build(dict(method.head)).to(backbone.device).eval()
    if head.reads_text and method.texts is None:
        raise ValueError(f"method {method.name!r} needs texts=dict(type='ComposedTexts' | 'PromptTexts', ...)")
    tiler = TILERS.build(dict(method.tiler))
    texts = _texts(method, model) if head.reads_text else None
    info = PredictorInfo(
        method=method.name,
        weights=model.source,
        arch=model.arch,
        fingerprint=getattr(model, "fingerprint", ""),
        device=str(backbone.device),
        dtype=str(backbone.dtype).removeprefix("torch."),
    )
    upsampler = MapUpsampler(backbone.stride_px, **{"combine": head.combine, **method.upsampler})
    parts = {"backbone": backbone, "preprocess": model.preprocess, "head": head, "tiler": tiler, "upsampler": upsampler}
    return AnomalyPredictor(**{**parts, "texts": texts, "info": info, "method": method, **changes})


def _texts(method: AnomalyMethod, model: ClipModel | VisionModel) -> StateTextSource:
    settings: Mapping[str, Any] = dict(method.texts)
    kind = settings.pop("type")
    if kind not in _TEXTS:
        raise ValueError(f"unknown texts {kind!r}; {suggest(str(kind), _TEXTS)}")
    if not isinstance(model, ClipModel):
        raise ValueError(f"method {method.name!r} compares with words; {model.source} has no text tower")
    if kind == "ComposedTexts":
        return ComposedTexts(model.text, **settings)
    source = settings.pop("source", None)
    if settings or source is None:
        raise ValueError(
            "PromptTexts needs source, learned prompts for this tower: 'anomalyclip-mini', or a file such as the "
            "authors' epoch_15.pth: load('anomalyclip', WEIGHTS, **{'texts.source': FILE})"
        )
    return PromptTexts(model.text, source if isinstance(source, LearnedPrompts) else LearnedPrompts.from_file(source))


def _is_vision(weights: str | Path | None, arch: str | None) -> bool:
    """Whether names mean an image tower without a text side."""
    families = {entry.name: entry.family for entry in CATALOGUE}
    if str(weights) in families:
        return families[str(weights)] == "vision"
    if arch is None or arch == CLIP_MINI or arch.startswith("hf-hub:"):
        return False
    try:
        arch_config(arch)
    except ValueError:
        return True
    return False
