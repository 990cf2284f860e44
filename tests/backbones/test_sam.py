"""SAM's encoder against segment-anything's own forward; streamed attention against the stored one; loading."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from segment_anything.modeling import Sam

from helpers.tiny_sam import tiny_sam
from ovperc.backbones.sam import SamBackbone, build_sam, infer_sam, load_sam
from ovperc.weights.reading import CheckpointError


@pytest.fixture(scope="module")
def sam() -> Sam:
    return tiny_sam()


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(2))


def plain_attention(block: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Probabilities ``(B, a, n, n)`` of a global block as segment-anything computes them."""
    from segment_anything.modeling.image_encoder import add_decomposed_rel_pos

    attention, (batch, height, width, _) = block.attn, x.shape
    qkv = attention.qkv(block.norm1(x)).reshape(batch, height * width, 3, attention.num_heads, -1)
    query, key, _ = qkv.permute(2, 0, 3, 1, 4).reshape(3, batch * attention.num_heads, height * width, -1).unbind(0)
    logits = (query * attention.scale) @ key.transpose(-2, -1)
    size = (height, width)
    logits = add_decomposed_rel_pos(logits, query, attention.rel_pos_h, attention.rel_pos_w, size, size)
    return logits.softmax(-1).unflatten(0, (batch, attention.num_heads))


@torch.inference_mode()
def test_encoder_is_segment_anythings(sam: Sam):
    images = draw(2, 3, 96, 96)
    encoder, x = sam.image_encoder, None
    backbone = SamBackbone(sam)
    features = backbone.forward_dense(images, ["-1.final", "0.out", "2.in", "-1.q", "-1.k", "-1.v"])
    expected = encoder(images)
    assert (
        features["-1.final"].transpose(1, 2).unflatten(2, (12, 12)) - expected
    ).abs().max() <= 1e-4 * expected.abs().max()
    x = encoder.patch_embed(images) + encoder.pos_embed
    x = encoder.blocks[0](x)
    assert torch.allclose(features["0.out"], x.flatten(1, 2), atol=1e-4)
    x = encoder.blocks[1](x)
    assert torch.allclose(features["2.in"], x.flatten(1, 2), atol=1e-4)
    x = encoder.blocks[2](x)
    points = torch.cat([features[f"-1.{point}"] for point in "qkv"], dim=-1)
    assert torch.allclose(points, encoder.blocks[3].attn.qkv(encoder.blocks[3].norm1(x)).flatten(1, 2), atol=1e-4)


@torch.inference_mode()
def test_streamed_attention_is_the_stored_one(sam: Sam):
    backbone = SamBackbone(sam)
    features = backbone.forward_dense(draw(2, 3, 96, 96), ["-1.in", "-1.q", "-1.k"])
    stored = plain_attention(sam.image_encoder.blocks[-1], features["-1.in"].unflatten(1, (12, 12)))
    rows = torch.tensor([0, 7, 143])
    for index, weights in backbone.stream_attention(features, rows=rows):
        assert torch.allclose(weights, stored[:, index, rows], atol=1e-6)
    whole = torch.stack([weights for _, weights in backbone.stream_attention(features)], dim=1)
    assert torch.allclose(whole, stored, atol=1e-6)
    windowed = backbone.forward_dense(draw(1, 3, 96, 96), ["0.q", "0.k"])
    with pytest.raises(ValueError, match="within windows"):
        next(backbone.stream_attention(windowed, layer=0))


@torch.inference_mode()
def test_any_grid_and_one_image_at_a_time(sam: Sam):
    backbone = SamBackbone(sam)
    images = draw(3, 3, 64, 83)
    together = backbone.forward_dense(images, ["-1.final"])
    assert together.grid_hw == (8, 10)
    for index in range(3):
        alone = backbone.forward_dense(images[index : index + 1], ["-1.final"])["-1.final"]
        assert torch.allclose(alone[0], together["-1.final"][index], atol=1e-5)
    assert backbone.encode_pooled(images).shape == (3, 64)


def test_files_of_any_size_load(tmp_path: Path, sam: Sam):
    torch.save(sam.state_dict(), tmp_path / "sam.pth")
    loaded = load_sam(tmp_path / "sam.pth").sam
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in sam.state_dict().items())
    assert [block.window_size for block in loaded.image_encoder.blocks] == [5, 0, 5, 0]
    half = load_sam(tmp_path / "sam.pth", dtype=torch.bfloat16)
    assert half.dtype == torch.bfloat16
    assert half.sam.mask_decoder.iou_token.weight.dtype == torch.float32


def test_published_sizes_are_read_from_the_shapes():
    from segment_anything import sam_model_registry

    with torch.device("meta"):
        published = sam_model_registry["vit_b"]().state_dict()
    settings = infer_sam(published)
    assert settings["global_layers"] == (2, 5, 8, 11)
    assert (settings["window"], settings["image_px"], settings["num_heads"]) == (14, 1024, 12)
    with torch.device("meta"):
        rebuilt = build_sam(settings)
    assert {name: value.shape for name, value in rebuilt.state_dict().items()} == {
        name: value.shape for name, value in published.items()
    }
    assert rebuilt.mask_decoder.transformer.layers[0].self_attn.num_heads == 8


def test_errors_name_what_is_wrong(tmp_path: Path, sam: Sam):
    torch.save({"visual.proj": torch.zeros(2)}, tmp_path / "clip.pth")
    with pytest.raises(CheckpointError, match="where a SAM is needed"):
        load_sam(tmp_path / "clip.pth")
    state = sam.state_dict()
    state["mask_decoder.mask_tokens.weight"] = torch.zeros(4, 32)
    torch.save(state, tmp_path / "odd.pth")
    with pytest.raises(CheckpointError, match="shapes differ"):
        load_sam(tmp_path / "odd.pth")
    with pytest.raises(ValueError, match="'sam-vit-b'"):
        load_sam("sam-vit-c")
    with pytest.raises(FileNotFoundError, match="no weights file"):
        load_sam("gone.pth")
    with pytest.raises(ValueError, match="vit_b"):
        load_sam("random-vit_c")
