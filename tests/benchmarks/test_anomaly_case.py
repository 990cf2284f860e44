"""What the benchmark compares with gives the same numbers as what it measures."""

from __future__ import annotations

import torch
from torch.testing import assert_close

from benchmarks import all_cases
from benchmarks.anomaly import two_path_forward, window_loop
from helpers.tiny_models import IMAGE_PX, tiny_clip
from ovperc.tasks.anomaly.windows import TOKENS, encode_windows


@torch.inference_mode()
def test_plain_two_path_model_is_the_same_method():
    backbone = tiny_clip("vit").backbone
    pixels = torch.randn(1, 3, IMAGE_PX, IMAGE_PX, generator=torch.Generator().manual_seed(0))
    for blocks in (1, 3):
        tap = f"-1.dual:{blocks}"
        found = backbone.forward_dense(pixels, [tap])[tap]
        plain = two_path_forward(backbone.tower, pixels, blocks)[:, 1:]
        assert_close(backbone.project(found), plain, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_looped_windows_are_the_batched_ones():
    backbone = tiny_clip("vit").backbone
    pixels = torch.randn(1, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    features = backbone.forward_dense(pixels, [TOKENS])
    found = encode_windows(backbone, features, (2,))[2]
    assert_close(found, window_loop(backbone, features, 2), atol=1e-4, rtol=1e-4)


def test_cases_are_listed():
    assert {"anomalyclip-ratio", "winclip-windows", "prompt-training"} <= set(all_cases())
