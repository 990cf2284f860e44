"""Towers that need their residual stream: the fields a method trades in, and the parts that serve them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from benchmarks.foundation import random_bank, random_image
from helpers.tiny_guide import tiny_guide
from helpers.tiny_models import EMBED_DIM, WIDTH, tiny_clip
from helpers.tiny_sam import tiny_sam
from ovperc.affinity.sam_correlation import SamCorrelation
from ovperc.backbones.sam import SamBackbone
from ovperc.core.structures import DenseFeatures, GuideFeatures
from ovperc.readout import (
    BlockReadout,
    DinoiserAffinityReadout,
    DinoiserHeads,
    DinoiserReadout,
    DualPathReadout,
    PooledReadout,
)
from ovperc.readout.base import attend_block, resize_tokens
from ovperc.tasks.methods import load_method
from ovperc.tasks.segmentation.build import build_segmenter
from ovperc.tiling.preprocess import Preprocess
from ovperc.weights.entry import IMAGENET_MEAN, IMAGENET_STD

PROXY = {"type": "GuideAffinity", "gamma": 5.0}
VALUES = {"type": "DualPathReadout", "affinity": {"type": "SelfAttention", "pairs": ("vv",)}, "layers": 2}


def described(zoom: float = 1.0):
    """A tower, its features at every tap of the stream, and what a second tower says of the same windows."""
    backbone = tiny_clip("vit", pos_embed="scale").backbone
    images = torch.randn(2, 3, 48, 48, generator=torch.Generator().manual_seed(3))
    taps = [f"{layer}.{point}" for layer in (-2, -1) for point in ("in", "q", "k", "v", "ln_2")]
    with torch.inference_mode():
        guide = tiny_guide(zoom=zoom).describe(images, Preprocess(IMAGENET_MEAN, IMAGENET_STD, 48))
        return backbone, backbone.forward_dense(images, taps), guide


def test_one_matrix_for_all_blocks_is_the_sum_over_blocks() -> None:
    backbone, features, guide = described()
    readout = DualPathReadout(PROXY, layers=2)
    with torch.inference_mode():
        found = readout.tokens(backbone, features, guide)
        branches = [attend_block(backbone.block(i), i, readout.affinity, features, guide) for i in (-2, -1)]
        stream = resize_tokens(features.patches("-2.in"), features.grid_hw, guide.grid_hw)
    assert torch.allclose(found, stream + branches[0] + branches[1], atol=1e-4)


def test_zoom_gives_a_finer_grid() -> None:
    assert described()[2].grid_hw == (12, 12)
    assert described(1.5)[2].grid_hw == (18, 18)
    with pytest.raises(ValueError, match="zoom"):
        tiny_guide(zoom=0.0)


def test_pooling_takes_embeddings_on_any_grid() -> None:
    backbone, features, guide = described()
    inner = DualPathReadout(PROXY, layers=1)
    pooled = PooledReadout(PROXY, readout=inner)
    with torch.inference_mode():
        values = inner.embed(backbone, features, guide)
        matrices = torch.stack([pooled.affinity._matrix(guide, window) for window in range(2)])
        assert torch.allclose(pooled.embed(backbone, features, guide), matrices @ values, atol=1e-4)
        back = PooledReadout({"type": "SelfAttention", "pairs": ("kk",)}, readout=inner)
        assert back.embed(backbone, features, guide).shape == (2, 36, EMBED_DIM)


def test_heads_average_the_embeddings_they_are_given() -> None:
    torch.manual_seed(0)
    backbone, features, _ = described()
    heads = DinoiserHeads(WIDTH, 8).eval()
    readout = DinoiserReadout(heads=heads, layer=-2, values=VALUES)
    with torch.inference_mode():
        maps = features.patches("-2.ln_2").transpose(1, 2).unflatten(2, (6, 6))
        weights = heads.similarity(maps)
        weights = torch.where(weights < 0.2, 0.0, weights)
        values = DualPathReadout(VALUES["affinity"], layers=2).embed(backbone, features, None)
        expected = (weights @ values) / (weights.sum(dim=-1, keepdim=True) + 1e-6)
        assert torch.allclose(readout.embed(backbone, features, None), expected, atol=1e-5)
    assert isinstance(DinoiserReadout(heads=heads).values, BlockReadout)


def test_a_share_of_the_global_step_keeps_the_canvas_grid() -> None:
    image, canvas = random_image((96, 60)), torch.randn(5, 24, 15)
    whole, part = (SamCorrelation(backbone=SamBackbone(tiny_sam()), share=share) for share in (1.0, 0.25))
    seen = whole.embed(image)
    size = whole.grid(seen)
    moved = whole.aggregate(seen, canvas)
    step = moved - F.interpolate(canvas[None], size, mode="bilinear")[0]
    expected = canvas + 0.25 * F.interpolate(step[None], (24, 15), mode="bilinear")[0]
    assert moved.shape[1:] == size
    assert torch.allclose(part.aggregate(seen, canvas), expected, atol=1e-5)
    with pytest.raises(ValueError, match="share"):
        SamCorrelation(backbone=part.backbone, share=0.0)


def test_splices_serve_rules_of_the_whole_image() -> None:
    clip = tiny_clip("vit", pos_embed="scale")
    tiler = {"type": "Tiler", "short_side_px": 64, "crop_px": 48, "stride_px": 16, "whole_patches": True}
    parts = {"guide": tiny_guide(mean_over="image"), "splice": {}, "tiler": tiler}
    segmenter = build_segmenter(load_method("trident"), clip, logit_rule={"type": "FeatureSurgery"}, **parts)
    encoded = segmenter.encode(random_image((64, 90)))
    assert encoded.embeddings.pooled.shape == (8, EMBED_DIM)
    narrow = build_segmenter(
        load_method("trident"), clip, logit_rule={"type": "FeatureSurgery"}, max_tiles=1, **parts
    ).encode(random_image((64, 90)))
    assert torch.allclose(narrow.embeddings.pooled, encoded.embeddings.pooled, atol=1e-5)
    bank = random_bank(3, EMBED_DIM, clip.fingerprint)
    assert segmenter.segment(encoded, bank).labels.shape == (64, 90)


@pytest.mark.parametrize("zoom", [1, 2])
def test_heads_lend_their_space_as_a_second_tower(zoom: int) -> None:
    torch.manual_seed(0)
    backbone, features, _ = described()
    heads = DinoiserHeads(WIDTH, 8).eval()
    inner = {"type": "DualPathReadout", "affinity": PROXY, "layers": 2}
    readout = DinoiserAffinityReadout(inner, zoom=zoom, heads=heads, layer=-2)
    with torch.inference_mode():
        maps = heads.obj_proj(features.patches("-2.ln_2").transpose(1, 2).unflatten(2, (6, 6)))
        size = (6 * zoom, 6 * zoom)
        unit = F.normalize(F.interpolate(maps, size, mode="bilinear").flatten(2), dim=1).transpose(1, 2)
        guide = GuideFeatures(unit, size, (unit @ unit.transpose(1, 2)).mean(dim=(1, 2)))
        expected = DualPathReadout(PROXY, layers=2)(backbone, features, guide)
        found = readout(backbone, features)
        alone = readout(backbone, DenseFeatures({t: v[:1] for t, v in features.taps.items()}, (6, 6), 1, 3))
    assert torch.allclose(found.patches, expected.patches, atol=1e-4)
    assert torch.allclose(found.patches[:1], alone.patches, atol=1e-5)
    assert found.grid_hw == size and found.foreground.shape == (2, 6, 6)
    with pytest.raises(ValueError, match="zoom"):
        DinoiserAffinityReadout(inner, zoom=0, heads=heads)
