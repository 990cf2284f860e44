"""Layouts of image towers without words, brought to timm's classes: DINO, DINOv2, DINOv3, MAE, RADIO, transformers."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ovperc.weights.checkpoint import Checkpoint, Side, State, count_layers, fuse, processor_preprocess, rename
from ovperc.weights.entry import CLIP_MEAN, CLIP_STD
from ovperc.weights.errors import CheckpointError

_QKV = ("q_proj", "k_proj", "v_proj")
_TRAINING_PARTS = (
    "head.",
    "mask_token",
    "decoder",
    "dino_head",
    "ibot_head",
    "fc_norm.",
    "local_cls_norm",
    "rope_embed",
    "projectors.",
)
_VIT_RULES = (
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.register_tokens$", "register_tokens"),
    (r"^embeddings\.(cls_token|mask_token)$", r"\1"),
    (r"^(?:encoder\.layer|layers)\.", "blocks."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.attention\.attention\.(query|key|value)\.", r".attn.\1."),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.attn\.query\.", ".attn.q_proj."),
    (r"\.attn\.key\.", ".attn.k_proj."),
    (r"\.attn\.value\.", ".attn.v_proj."),
    (r"\.attention\.([qkv])_proj\.", r".attn.\1_proj."),
    (r"\.attention\.o_proj\.", ".attn.proj."),
    (r"\.layer_scale([12])\.lambda1$", r".ls\1.gamma"),
    (r"\.mlp\.weights_in\.", ".mlp.w12."),
    (r"\.mlp\.weights_out\.", ".mlp.w3."),
    (r"\.mlp\.down_proj\.", ".mlp.w3."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
    (r"^layernorm\.", "norm."),
)
_DINOV3_RULES = (
    (r"^model\.layer\.", "layer."),
    (r"^embeddings\.patch_embeddings\.", "patch_embed.proj."),
    (r"^embeddings\.register_tokens$", "reg_token"),
    (r"^embeddings\.(cls_token|mask_token)$", r"\1"),
    (r"^layer\.", "blocks."),
    (r"\.attention\.o_proj\.", ".attn.proj."),
    (r"\.attention\.", ".attn."),
    (r"\.layer_scale([12])\.lambda1$", r".gamma_\1"),
    (r"\.mlp\.gate_proj\.", ".mlp.fc1_g."),
    (r"\.mlp\.down_proj\.", ".mlp.fc2."),
)
_META_DINOV3_RULES = (
    (r"^storage_tokens$", "reg_token"),
    (r"\.ls([12])\.gamma$", r".gamma_\1"),
    (r"\.mlp\.w1\.", ".mlp.fc1_g."),
    (r"\.mlp\.w2\.", ".mlp.fc1_x."),
    (r"\.mlp\.w3\.", ".mlp.fc2."),
)


def from_plain_vit(state: State, side: Side) -> Checkpoint:
    """timm's own names, DINO's, DINOv2's and MAE's, with what timm's ``config.json`` tells."""
    kept = {name: value for name, value in state.items() if not name.startswith(_TRAINING_PARTS)}
    config = side.get("config.json", {})
    preprocess = {
        key: config["pretrained_cfg"][key]
        for key in ("mean", "std", "interpolation")
        if key in config.get("pretrained_cfg", {})
    }
    return Checkpoint(_dinov2_names(kept), preprocess=preprocess, arch=config.get("architecture"))


def from_timm_eva(state: State, side: Side) -> Checkpoint:
    """timm's names of a DINOv3 tower."""
    checkpoint = from_plain_vit(state, side)
    return Checkpoint(_with_query_value_bias(checkpoint.state), preprocess=checkpoint.preprocess, arch=checkpoint.arch)


def from_meta_dinov3(state: State, side: Side) -> Checkpoint:
    """DINOv3's own names; the rotary periods are computed, masks of the key bias are left out."""
    kept = {
        name: value
        for name, value in state.items()
        if not name.startswith(_TRAINING_PARTS) and not name.endswith(".bias_mask")
    }
    for name in [name for name in kept if name.endswith("attn.qkv.bias")]:
        query, _, values = kept[name].chunk(3)  # the layer masks the bias of its keys
        kept[name] = torch.cat([query, torch.zeros_like(query), values])
    return Checkpoint(_with_query_value_bias(rename(kept, _META_DINOV3_RULES)))


def from_transformers_vit(state: State, side: Side) -> Checkpoint:
    """``ViTModel`` (DINO), ``ViTMAEModel``, ``Dinov2Model`` or ``Dinov2WithRegistersModel`` of transformers."""
    renamed = rename(state, _VIT_RULES)
    renamed = fuse(fuse(renamed, _QKV, "qkv.{}"), ("gate_proj", "up_proj"), "w12.{}")
    kept = {
        name: value
        for name, value in renamed.items()
        if not name.startswith(("classifier", "pooler", *_TRAINING_PARTS))
    }
    heads = side.get("config.json", {}).get("num_attention_heads")
    config = {"num_heads": heads} if heads else None
    return Checkpoint(_dinov2_names(kept), config, preprocess=processor_preprocess(side))


def from_transformers_dinov3(state: State, side: Side) -> Checkpoint:
    """``DINOv3ViTModel`` of transformers."""
    gated = any(".mlp.gate_proj." in name for name in state)
    rules = (*_DINOV3_RULES, (r"\.mlp\.up_proj\.", ".mlp.fc1_x." if gated else ".mlp.fc1."))
    renamed = fuse(rename(state, rules), _QKV, "qkv.{}", without_bias="k_proj")
    kept = {name: value for name, value in renamed.items() if not name.startswith(_TRAINING_PARTS)}
    heads = side.get("config.json", {}).get("num_attention_heads")
    config = {"num_heads": heads} if heads else None
    return Checkpoint(_with_query_value_bias(kept), config, preprocess=processor_preprocess(side))


def from_radio(state: State, side: Side) -> Checkpoint:
    """C-RADIO: one class token for each teacher, then registers; no closing norm; a table of 128 x 128 places.

    Teachers' heads, and with them the way to words, are left out.
    """
    kept = {name[18:]: value for name, value in state.items() if name.startswith("radio_model.model.")}
    linear, tokens = kept["patch_generator.embedder.weight"], kept["patch_generator.cls_token.token"]
    patch = math.isqrt(linear.shape[1] // 3)
    converted = {
        "patch_embed.proj.weight": linear.unflatten(1, (3, patch, patch)),
        "patch_embed.proj.bias": linear.new_zeros(len(linear)),
        "pos_embed": kept["patch_generator.pos_embed"],
        "cls_token": tokens[None, :1],
        "reg_token": tokens[None, 1:],
    }
    blocks = {name: value for name, value in kept.items() if name.startswith("blocks.")}
    converted |= rename(blocks, ((r"\.grandma$", ".gamma"),))
    width, third = len(linear), len(tokens) == _RADIO_V3_TOKENS
    corners = third and (width == _BASE_WIDTH or (width, count_layers(blocks, "blocks.")) == _HUGE)
    config = {"final_norm": False, "pos_embed": "square_crop_corners" if corners else "square_crop"}
    return Checkpoint(converted, config, preprocess={"mean": CLIP_MEAN, "std": CLIP_STD})


def _dinov2_names(state: State) -> dict[str, Tensor]:
    """timm's names: packed SwiGLU layers, registers apart from the position table, whose first row is the class's."""
    renamed = rename(state, ((r"\.mlp\.w12\.", ".mlp.fc1."), (r"\.mlp\.w3\.", ".mlp.fc2.")))
    registers = renamed.pop("register_tokens", None)
    if registers is not None:
        table = renamed["pos_embed"]
        renamed["reg_token"] = registers
        renamed["cls_token"] = renamed["cls_token"] + table[:, :1]
        renamed["pos_embed"] = table[:, 1:]
    return renamed


def _with_query_value_bias(state: State) -> dict[str, Tensor]:
    """timm's ``q_bias`` and ``v_bias`` from a fused bias, dropped in all blocks where they are zero in all."""
    biases = {name: value for name, value in state.items() if name.endswith("attn.qkv.bias")}
    result = {name: value for name, value in state.items() if name not in biases}
    if not any(value.any() for value in biases.values()):
        return result
    for name, value in biases.items():
        query, key, values = value.chunk(3)
        if key.any():
            raise CheckpointError(f"{name} has a bias of the keys, which no published DINOv3 has")
        stem = name.removesuffix("qkv.bias")
        result[f"{stem}q_bias"], result[f"{stem}v_bias"] = query, values
    return result


def vit_settings(state: State, num_heads: int | None = None, final_norm: bool = True) -> dict[str, Any]:
    """Keywords of timm's ``VisionTransformer`` whose shapes are those of a table.

    Args:
        state: in timm's names.
        num_heads: left out, see :func:`heads_of`.
        final_norm: whether the last block is followed by a norm.

    Raises:
        CheckpointError: the table is not that of a plain ViT.
    """
    needed = ("patch_embed.proj.weight", "pos_embed", "blocks.0.attn.qkv.weight", *(["norm.weight"] * final_norm))
    absent = [name for name in needed if name not in state]
    if absent:
        raise CheckpointError(
            f"these weights are no plain ViT (there is no {absent[0]}); pass arch, the timm name they belong to. "
            f"The file begins with {next(iter(state), 'nothing')}"
        )
    width, _, patch, _ = state["patch_embed.proj.weight"].shape
    first, last = state["blocks.0.mlp.fc1.weight"].shape[0], state["blocks.0.mlp.fc2.weight"].shape[1]
    registers = state["reg_token"].shape[1] if "reg_token" in state else 0
    rows = state["pos_embed"].shape[1]
    side = math.isqrt(rows)
    return {
        "patch_size": patch,
        "img_size": side * patch,
        "embed_dim": width,
        "depth": count_layers(state, "blocks."),
        "num_heads": num_heads or heads_of(width, count_layers(state, "blocks.")),
        "mlp_ratio": (first + 0.5) / width,  # timm truncates the product to an integer
        "packed": first == 2 * last,
        "qkv_bias": "blocks.0.attn.qkv.bias" in state,
        "init_values": 1e-5 if "blocks.0.ls1.gamma" in state else None,
        "class_token": "cls_token" in state,
        "reg_tokens": registers,
        "no_embed_class": registers > 0 or side * side == rows,
        "final_norm": final_norm,
    }


def eva_settings(state: State, num_heads: int | None = None) -> dict[str, Any]:
    """Keywords of timm's ``Eva`` for a DINOv3 tower, whose shapes are those of a table."""
    width, _, patch, _ = state["patch_embed.proj.weight"].shape
    gated = "blocks.0.mlp.fc1_g.weight" in state
    hidden = state["blocks.0.mlp.fc2.weight"].shape[1]
    registers = state.get("reg_token")
    return {
        "patch_size": patch,
        "embed_dim": width,
        "depth": count_layers(state, "blocks."),
        "num_heads": num_heads or (width // 128 if width == _WIDTH_7B else max(width // 64, 1)),
        "mlp_ratio": (hidden + 0.5) / width,
        "swiglu_mlp": gated,
        "swiglu_align_to": 1 if gated else 0,
        "qkv_bias": "blocks.0.attn.q_bias" in state,
        "num_reg_tokens": 0 if registers is None else registers.shape[1],
    }


_WIDTH_7B = 4096
_BASE_WIDTH = 768
_RADIO_V3_TOKENS = 8
_HUGE, _SHAPE_OPTIMISED = (1280, 32), (1152, 27)


def heads_of(width: int, depth: int) -> int:
    """Attention heads by size: 64 wide, but 80 in ViT-H (MAE, RADIO) and 72 in SoViT-400M."""
    return 16 if (width, depth) in (_HUGE, _SHAPE_OPTIMISED) else max(width // 64, 1)
