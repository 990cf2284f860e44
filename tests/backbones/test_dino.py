"""Self-supervised ViTs: taps against timm's own forward and a plain attention, and every published file layout."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import timm
import torch
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from helpers.tiny_models import scramble
from ovperc.backbones.clip_timm import TimmTransformer
from ovperc.backbones.dino import build_trunk, load_dino
from ovperc.weights import catalogue as weights
from ovperc.weights.reading import CheckpointError
from ovperc.weights.vision_layouts import vit_settings

SIZES = {"embed_dim": 128, "depth": 3, "num_heads": 2, "num_classes": 0}


def tiny_trunk(kind: str) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(4)
        if kind == "dino":
            trunk = VisionTransformer(img_size=48, patch_size=8, **SIZES)
        elif kind == "dinov2":
            trunk = VisionTransformer(img_size=56, patch_size=14, init_values=0.1, **SIZES)
        elif kind == "dinov2-reg":
            trunk = VisionTransformer(
                img_size=56, patch_size=14, init_values=0.1, reg_tokens=4, no_embed_class=True, **SIZES
            )
        elif kind == "dinov3":
            trunk = Eva(
                img_size=48, patch_size=16, qkv_bias=False, init_values=0.1, rope_type="dinov3", rope_rotate_half=True,
                use_rot_pos_emb=True, use_abs_pos_emb=False, num_reg_tokens=4, use_fc_norm=False, dynamic_img_size=True,
                **SIZES,
            )  # fmt: skip
        else:
            trunk = build_trunk("dino-mini")
        scramble(trunk)
    return trunk.eval()


KINDS = ("dino", "dinov2", "dinov2-reg", "dinov3", "dino-mini")


@pytest.mark.parametrize("kind", KINDS)
def test_final_tokens_are_timms(kind: str):
    trunk = tiny_trunk(kind)
    backbone = TimmTransformer(trunk, "size_aa")
    side = trunk.patch_embed.img_size[0]
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = trunk.forward_features(images)
        features = backbone.forward_dense(images, ["-1.final", "-1.out"])
        projected = backbone.project(features["-1.out"])
    assert (features["-1.final"] - expected).abs().max() <= 1e-4 * expected.abs().max()
    assert features.num_prefix == trunk.num_prefix_tokens
    assert torch.allclose(projected, features["-1.final"], atol=1e-5)


@pytest.mark.parametrize("kind", ["dino", "dinov2-reg"])
def test_taps_make_the_last_block_by_hand(kind: str):
    trunk = tiny_trunk(kind)
    backbone = TimmTransformer(trunk, "size")
    images = torch.randn(1, 3, 56, 84, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        features = backbone.forward_dense(images, ["-1.in", "-1.q", "-1.k", "-1.v", "-1.ln_2", "-1.out"])
        query, key, value = (features[f"-1.{point}"].unflatten(-1, (2, 64)).transpose(1, 2) for point in "qkv")
        mixed = torch.softmax(query @ key.transpose(2, 3) / math.sqrt(64), -1) @ value
        block = backbone.block(-1)
        tokens = features["-1.in"] + block.project_out(mixed.transpose(1, 2).flatten(2))
        assert torch.allclose(trunk.blocks[-1].norm2(tokens), features["-1.ln_2"], atol=1e-4)
        assert torch.allclose(tokens + block.feed_forward(tokens), features["-1.out"], atol=1e-4)


def original_layout(kind: str, state: dict[str, torch.Tensor]) -> dict:
    """The state of a timm trunk as its authors publish it."""
    state = dict(state)
    if kind == "dino":
        return {"teacher": {f"backbone.{name}": value for name, value in state.items()}, "epoch": 3}
    if kind == "mae":
        return {"model": {**state, "mask_token": torch.zeros(1, 1, 128), "decoder_embed.weight": torch.zeros(8, 128)}}
    if kind == "dinov2-reg":
        state["register_tokens"] = state.pop("reg_token")
        split = torch.full((1, 1, 128), 0.25)
        state["pos_embed"] = torch.cat([split, state["pos_embed"]], dim=1)
        state["cls_token"] = state["cls_token"] - split
    return {**state, "mask_token": torch.zeros(1, 128)}


LAYOUTS = [("dino", "dino"), ("dino", "mae"), ("dino", "timm")]
LAYOUTS += [("dinov2", "dinov2"), ("dinov2-reg", "dinov2-reg"), ("dinov2-reg", "timm")]


@pytest.mark.layout("a plain ViT (timm, DINO, DINOv2, MAE)")
@pytest.mark.parametrize(("kind", "layout"), LAYOUTS)
def test_published_layouts_load_unchanged(tmp_path: Path, kind: str, layout: str):
    trunk = tiny_trunk(kind)
    state = trunk.state_dict()
    torch.save(state if layout == "timm" else original_layout(layout, state), tmp_path / "weights.pth")
    model = load_dino(tmp_path / "weights.pth")
    loaded = model.backbone.tower.state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.allclose(loaded[name], state[name], atol=1e-6) for name in state)
    assert model.preprocess.image_size_px == trunk.patch_embed.img_size[0]
    assert model.backbone.tower.blocks[0].attn.num_heads == 2


def test_errors_name_what_is_wrong(tmp_path: Path):
    trunk = tiny_trunk("dino")
    torch.save(trunk.state_dict(), tmp_path / "dino.pth")
    with pytest.raises(CheckpointError, match=r"patch_embed.proj.weight.*leave arch out"):
        load_dino(tmp_path / "dino.pth", "vit_small_patch16_224")
    with pytest.raises(CheckpointError, match="no plain ViT"):
        vit_settings({"conv1.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match="did you mean 'dino-vitb8'"):
        load_dino("dino-vitb9")
    with pytest.raises(FileNotFoundError, match="no weights file"):
        load_dino(tmp_path / "gone.pth")
    with pytest.raises(ValueError, match="did you mean"):
        load_dino("random", "vit_base_patch16_225")
    with pytest.raises(ValueError, match="last block only"):
        TimmTransformer(trunk).forward_dense(torch.zeros(1, 3, 48, 48), ["0.final"])


def test_catalogue_agrees_with_timm():
    rows = [entry for entry in weights.CATALOGUE if entry.family == "vision" and not entry.shipped]
    assert len(rows) >= 28
    for entry in rows:
        assert timm.is_model(entry.arch)
        name = entry.arch if "." in entry.arch else f"{entry.arch}.lvd142m"
        published = timm.get_pretrained_cfg(name)
        assert (entry.url or "") == published.url and entry.hubs[0] == published.hf_hub_id
        assert entry.licence.lower().replace(" ", "-") == published.license
        assert (entry.mean, entry.std) == (published.mean, published.std)
