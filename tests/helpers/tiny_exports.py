"""Tiny predictors of every method that is exported."""

from __future__ import annotations

from typing import Any

import numpy as np

from helpers.tiny_models import WIDTH, tiny_clip

TEMPLATES = ("a photo of a {}.", "{}", "the {} at night")


def bank_feed(bank: Any, logit_scale: float) -> dict[str, np.ndarray]:
    """Inputs of a segmentation graph for a text bank, all but the image."""
    arrays = bank.numpy()
    return {
        "text": arrays.embeddings,
        "owners": arrays.owners,
        "logit_scale": np.asarray(logit_scale, np.float32),
        "background_threshold": np.asarray(bank.background.threshold, np.float32),
        "background_named": np.asarray(bool(bank.background.words)),
    }


def tiny_predictor(method: str = "maskclip", kind: str = "vit", **overrides: Any):
    """A predictor on random tiny towers, with few sentences per word.

    ``trident-beside`` is Trident with the parts of a path beside the tower.
    """
    from ovperc.tasks.methods import load_method
    from ovperc.tasks.predictor import PredictorInfo
    from ovperc.tasks.segmentation.build import build_segmenter
    from ovperc.tasks.segmentation.predictor import SegPredictor
    from ovperc.text.encoder import TextEncoder

    config = load_method(method.partition("-")[0], overrides)
    clip = tiny_clip(kind, pos_embed=config.pos_embed)
    info = PredictorInfo(config.name, clip.source, clip.arch, clip.fingerprint, "cpu", "float32")
    encoder = TextEncoder(clip.text, clip.fingerprint, TEMPLATES)
    return SegPredictor(build_segmenter(config, clip, **_second_parts(method)), encoder, info)


def _second_parts(method: str) -> dict[str, Any]:
    """Second towers and heads of a method with random tiny weights."""
    if method == "clip_dinoiser":
        import torch

        from ovperc.readout import DinoiserHeads, DinoiserReadout

        with torch.random.fork_rng():
            torch.manual_seed(0)
            heads = DinoiserHeads(WIDTH, 8)
        return {"readout": DinoiserReadout(heads=heads)}
    if method not in ("proxyclip", "trident", "trident-beside"):
        return {}
    from helpers.tiny_guide import tiny_guide
    from helpers.tiny_sam import tiny_sam
    from ovperc.backbones.sam import SamBackbone

    if method == "proxyclip":
        return {"guide": tiny_guide()}
    aggregator = {"type": "SamCorrelation", "backbone": SamBackbone(tiny_sam())}
    if method == "trident":
        return {"guide": tiny_guide(mean_over="image"), "splice": {"aggregator": aggregator}}
    return {
        "guide": tiny_guide(mean_over="image", zoom=1.5),
        "splice": {"aggregator": {**aggregator, "share": 0.5}},
        "logit_rule": {"type": "FeatureSurgery"},
    }
