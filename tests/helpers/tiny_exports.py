"""A tiny predictor, and its exported folder made once per test session."""

from __future__ import annotations

from typing import Any

from helpers.tiny_models import tiny_clip

TEMPLATES = ("a photo of a {}.", "{}", "the {} at night")


def tiny_predictor(method: str = "maskclip", kind: str = "vit", **overrides: Any):
    """A predictor on random tiny towers, with few sentences per word."""
    from ovperc.configs import load_method
    from ovperc.predictor import Predictor, PredictorInfo
    from ovperc.tasks.segmentation import build_segmenter
    from ovperc.text.encoder import TextEncoder

    config = load_method(method, overrides)
    clip = tiny_clip(kind, pos_embed=config.pos_embed)
    info = PredictorInfo(config.name, clip.source, clip.arch, clip.fingerprint, "cpu", "float32")
    encoder = TextEncoder(clip.text, clip.fingerprint, TEMPLATES)
    return Predictor(build_segmenter(config, clip), encoder, info)
