"""ProxyCLIP, CLIP-DINOiser and Trident against their plain forms: stored matrices, one window after the other."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.foundation import random_bank, random_image
from benchmarks.plain_refinement import plain_dinoiser, plain_proxyclip, plain_trident
from benchmarks.refinement import benchmark_bank, largest_difference
from helpers.tiny_guide import tiny_guide
from helpers.tiny_models import EMBED_DIM, WIDTH, tiny_clip
from helpers.tiny_sam import tiny_sam
from ovperc.backbones.sam import SamBackbone
from ovperc.readout import DinoiserHeads, DinoiserReadout
from ovperc.tasks.methods import load_method
from ovperc.tasks.segmentation.build import build_segmenter


def segmenter_of(method: str, tiler: dict):
    parts = {"tiler": {"type": "Tiler", **tiler}}
    if method == "clip_dinoiser":
        torch.manual_seed(0)
        parts["readout"] = DinoiserReadout(heads=DinoiserHeads(WIDTH, 8).eval())
    else:
        spliced = method == "trident"
        parts["guide"] = tiny_guide(8 if spliced else 4, mean_over="image" if spliced else "tile")
    if method == "trident":
        parts["splice"] = {"aggregator": {"type": "SamCorrelation", "backbone": SamBackbone(tiny_sam())}}
    config = load_method(method)
    return build_segmenter(config, tiny_clip("vit", pos_embed=config.pos_embed), **parts)


@pytest.mark.parametrize(
    ("method", "plain", "tiler"),
    [
        ("proxyclip", plain_proxyclip, {"short_side_px": 48, "crop_px": 48, "stride_px": 16}),
        ("clip_dinoiser", plain_dinoiser, {"short_side_px": 64, "crop_px": 48, "stride_px": 16}),
        ("trident", plain_trident, {"short_side_px": 64, "crop_px": 48, "stride_px": 16, "whole_patches": True}),
    ],
)
def test_method_is_its_plain_form(method: str, plain, tiler: dict) -> None:
    segmenter = segmenter_of(method, tiler)
    bank = benchmark_bank(method, EMBED_DIM, segmenter.clip.fingerprint)
    image = random_image((60, 90))
    answer = plain(segmenter, image, bank)
    assert segmenter.encode(image).stitcher.output_hw == (60, 90)
    assert largest_difference(segmenter, image, bank, answer.scores) < 1e-4
    labels = segmenter.segment(segmenter.encode(image), bank).labels.numpy()
    assert np.mean(labels == answer.labels.numpy()) > 0.999


def test_plain_forms_refuse_padding() -> None:
    segmenter = segmenter_of("proxyclip", {"short_side_px": 44, "crop_px": 48, "stride_px": 16, "pad": "end"})
    bank = random_bank(2, EMBED_DIM, segmenter.clip.fingerprint)
    with pytest.raises(ValueError, match="without padding"):
        plain_proxyclip(segmenter, random_image((44, 60)), bank)
