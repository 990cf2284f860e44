"""Readouts: the taps they ask for, what they leave out, and towers without a residual stream."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from helpers.tiny_models import native_px, tiny_clip
from ovperc.affinity import Identity, SelfAttention
from ovperc.core.structures import DenseEmbeddings, Tap
from ovperc.readout import BlockReadout, DualPathReadout, Readout


def taps_of(readout: Readout, backbone, **kwargs) -> set[str]:
    depth = backbone.depth
    return {f"{tap.layer - depth}.{tap.point}" for tap in readout.taps(backbone, **kwargs)}


def read(readout: Readout, backbone, images: torch.Tensor, **kwargs) -> DenseEmbeddings:
    with torch.inference_mode():
        return readout(backbone, backbone.forward_dense(images, readout.taps(backbone, **kwargs)), **kwargs)


def images_for(kind: str, batch: int = 2) -> torch.Tensor:
    side = native_px(kind)
    return torch.randn(batch, 3, side, side + 32, generator=torch.Generator().manual_seed(1))


def test_only_what_is_read_is_tapped():
    backbone = tiny_clip("vit").backbone
    assert taps_of(BlockReadout(Identity(), residual=False, ffn=False), backbone) == {"-1.v"}
    assert taps_of(BlockReadout(Identity(), residual=True, ffn=True), backbone) == {"-1.v", "-1.in"}
    assert taps_of(BlockReadout(SelfAttention(("qq",)), residual=False), backbone) == {"-1.v", "-1.q"}
    assert taps_of(BlockReadout(Identity(), residual=False), backbone, with_keys=True) == {"-1.v", "-1.k"}
    assert taps_of(BlockReadout(SelfAttention(("qk",)), layer=-2), backbone) == {"-2.in", "-2.q", "-2.k", "-2.v"}
    stream = {"-2.in", "-2.v", "-1.v"}
    assert taps_of(DualPathReadout(SelfAttention(("vv",)), layers=2), backbone) == stream


def test_switches_add_what_they_say():
    backbone = tiny_clip("vit").backbone
    images = images_for("vit")
    with torch.inference_mode():
        features = backbone.forward_dense(images, ["-1.in", "-1.v"])
        block = backbone.block(-1)
        branch = block.project_out(features.patches("-1.v"))
        stream = features.patches("-1.in")
        expected = {
            (False, False): branch,
            (True, False): stream + branch,
            (False, True): branch + block.feed_forward(branch),
            (True, True): stream + branch + block.feed_forward(stream + branch),
        }
        for (residual, ffn), tokens in expected.items():
            result = read(BlockReadout(Identity(), residual, ffn), backbone, images).patches
            unit = F.normalize(backbone.project(tokens), dim=-1).transpose(1, 2).unflatten(2, features.grid_hw)
            assert torch.allclose(result, unit, atol=1e-5), (residual, ffn)


@pytest.mark.parametrize("kind", ["vit", "siglip", "timm-token", "eva"])
def test_qk_with_everything_kept_is_the_tower_itself(kind: str):
    """The block as trained gives the tower's own last tokens back."""
    backbone = tiny_clip(kind).backbone
    images = images_for(kind)
    with torch.inference_mode():
        tokens = backbone.forward_dense(images, ["-1.out"]).patches("-1.out")
        unit = F.normalize(backbone.project(tokens).float(), dim=-1)
    result = read(BlockReadout(SelfAttention(("qk",))), backbone, images).patches
    assert torch.allclose(result.flatten(2).transpose(1, 2), unit, atol=1e-4)


@pytest.mark.parametrize("kind", ["vit", "resnet", "siglip", "timm-token", "eva", "convnext"])
@pytest.mark.parametrize("residual", [True, False])
def test_every_family_reads_unit_embeddings(kind: str, residual: bool):
    clip = tiny_clip(kind)
    side = native_px(kind)
    result = read(BlockReadout(Identity(), residual=residual, ffn=residual), clip.backbone, images_for(kind))
    stride = clip.backbone.stride_px
    assert result.patches.shape == (2, clip.backbone.embed_dim, side // stride, (side + 32) // stride)
    assert result.patches.dtype == torch.float32
    assert torch.allclose(result.patches.norm(dim=1), torch.ones(()), atol=1e-5)
    assert result.keys is None


def test_attention_pools_ignore_the_switches():
    backbone = tiny_clip("resnet").backbone
    images = images_for("resnet")
    kept, left = (read(BlockReadout(Identity(), value, value), backbone, images) for value in (True, False))
    assert torch.equal(kept.patches, left.patches)
    stream = read(DualPathReadout(SelfAttention(("vv",)), layers=6), backbone, images)
    block = read(BlockReadout(SelfAttention(("vv",))), backbone, images)
    assert torch.allclose(stream.patches, block.patches, atol=1e-6)


def test_keys_are_pushed_through_the_output_projection():
    backbone = tiny_clip("vit").backbone
    images = images_for("vit")
    keys = read(BlockReadout(Identity()), backbone, images, with_keys=True).keys
    with torch.inference_mode():
        features = backbone.forward_dense(images, [Tap(-1, "k")])
        expected = backbone.block(-1).project_out(features.patches("-1.k"))
    assert torch.allclose(keys, expected, atol=1e-6)


def test_a_stream_longer_than_the_tower_is_all_of_it():
    backbone = tiny_clip("vit").backbone
    images = images_for("vit")
    long, whole = (read(DualPathReadout(SelfAttention(("vv",)), layers), backbone, images) for layers in (60, 3))
    assert torch.equal(long.patches, whole.patches)
    with pytest.raises(ValueError, match="layers"):
        DualPathReadout(Identity(), layers=0)


def test_parts_can_be_given_as_configs():
    readout = BlockReadout({"type": "SelfAttention", "pairs": ("kk",)})
    assert readout.affinity.pairs == ("kk",)
    with pytest.raises(ValueError, match="did you mean 'SelfAttention'"):
        BlockReadout({"type": "SelfAtention"})
