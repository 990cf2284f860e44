"""SigLIP and SigLIP 2 of transformers and of big_vision, brought to open_clip's class with timm's image tower."""

from __future__ import annotations

import math
import re
from typing import Any

import torch
from torch import Tensor

from ovperc.weights.checkpoint import Checkpoint, Side, State, count_layers, fuse, processor_preprocess, rename

_QKV = ("q_proj", "k_proj", "v_proj")
_HALF = (0.5, 0.5, 0.5)
_TOKENIZERS = {32000: "timm/ViT-B-16-SigLIP", 250000: "timm/ViT-B-16-SigLIP-i18n-256", 256000: "timm/ViT-B-16-SigLIP2"}
"""Repositories that hold the tokenizer of each vocabulary; the one next to the weights goes first."""
_MULTILINGUAL = 256000
_UNUSED = re.compile(r"position_ids$|position_embedding_(res|ori)|^(dense_feature|longtext|boxtext)_head\.")
_COMMON_RULES = (
    (r"^vision_model\.embeddings\.patch_embedding\.", "visual.trunk.patch_embed.proj."),
    (r"^vision_model\.encoder\.layers\.", "visual.trunk.blocks."),
    (r"^vision_model\.post_layernorm\.", "visual.trunk.norm."),
    (r"^vision_model\.head\.probe$", "visual.trunk.attn_pool.latent"),
    (r"^vision_model\.head\.attention\.out_proj\.", "visual.trunk.attn_pool.proj."),
    (r"^vision_model\.head\.layernorm\.", "visual.trunk.attn_pool.norm."),
    (r"^vision_model\.head\.mlp\.", "visual.trunk.attn_pool.mlp."),
    (r"^(visual\.trunk\..*)\.self_attn\.", r"\1.attn."),
    (r"^(visual\.trunk\..*)\.attn\.out_proj\.", r"\1.attn.proj."),
    (r"^(visual\.trunk\..*)\.layer_norm([12])\.", r"\1.norm\2."),
    (r"^text_model\.embeddings\.token_embedding\.", "text.token_embedding."),
    (r"^text_model\.embeddings\.position_embedding\.weight$", "text.positional_embedding"),
    (r"^text_model\.encoder\.layers\.", "text.transformer.resblocks."),
    (r"^text_model\.final_layer_norm\.", "text.ln_final."),
    (r"^text_model\.head\.", "text.text_projection."),
    (r"^(text\..*)\.self_attn\.qkv\.", r"\1.attn.in_proj_"),
    (r"^(text\..*)\.self_attn\.", r"\1.attn."),
    (r"^(text\..*)\.layer_norm([12])\.", r"\1.ln_\2."),
    (r"^(text\..*)\.mlp\.fc1\.", r"\1.mlp.c_fc."),
    (r"^(text\..*)\.mlp\.fc2\.", r"\1.mlp.c_proj."),
)


def from_transformers(state: State, side: Side) -> Checkpoint:
    """``SiglipModel`` or ``Siglip2Model`` of transformers; sizes from the tensors, heads from ``config.json``.

    SigLIP 2's flexible-resolution form flattens its patches as (row, column, channel); the table is square. FG-CLIP 2
    is the same with heads for long captions and boxes, which prompts of 64 tokens do not pass.
    """
    kept = {name: value for name, value in state.items() if not _UNUSED.search(name)}
    converted = rename(fuse(kept, _QKV, "qkv.{}"), _COMMON_RULES)
    table = converted.pop("vision_model.embeddings.position_embedding.weight")
    converted["visual.trunk.pos_embed"] = table[None]
    patch = "visual.trunk.patch_embed.proj.weight"
    if converted[patch].ndim == 2:
        side_px = math.isqrt(converted[patch].shape[1] // 3)
        converted[patch] = converted[patch].unflatten(1, (side_px, side_px, 3)).permute(0, 3, 1, 2).contiguous()
    _split_pool(converted, "vision_model.head.attention.in_proj_")
    config = side.get("config.json", {})
    vision, text = config.get("vision_config", {}), config.get("text_config", {})
    heads = vision.get("num_attention_heads", 12), text.get("num_attention_heads", 12)
    return _checkpoint(converted, heads, processor_preprocess(side), vision.get("hidden_act", "gelu_pytorch_tanh"))


def from_big_vision(state: State, side: Side) -> Checkpoint:
    """big_vision's ``.npz``: flax arrays, blocks stacked or numbered, kernels transposed, heads as an axis."""
    arrays = {name.removeprefix("params/"): value for name, value in state.items()}
    heads = _flax_heads(arrays, "img"), _flax_heads(arrays, "txt")
    image, text = (_flax_tower(arrays, tower) for tower in ("img", "txt"))
    converted = {f"visual.trunk.{name}": value for name, value in rename(image, _FLAX_IMAGE).items()}
    converted |= {f"text.{name}": value for name, value in rename(text, _FLAX_TEXT).items()}
    table = converted["text.positional_embedding"]
    converted["text.positional_embedding"] = table.flatten(0, -2)
    for name, key in (("logit_bias", "b"), ("logit_scale", "t")):
        converted[name] = arrays[key].reshape(())
    return _checkpoint(converted, heads, {}, "gelu_pytorch_tanh")


def _split_pool(state: dict[str, Tensor], prefix: str) -> None:
    """torch's fused in-projection of the pool into timm's ``q`` and ``kv``."""
    for tail in ("weight", "bias"):
        query, key_value = torch.tensor_split(state[f"{prefix}{tail}"], [state[f"{prefix}{tail}"].shape[0] // 3])
        del state[f"{prefix}{tail}"]
        state[f"visual.trunk.attn_pool.q.{tail}"] = query
        state[f"visual.trunk.attn_pool.kv.{tail}"] = key_value


def _checkpoint(
    state: dict[str, Tensor], heads: tuple[int, int], preprocess: dict[str, Any], activation: str
) -> Checkpoint:
    text_width, words = state["text.token_embedding.weight"].shape[1], state["text.token_embedding.weight"].shape[0]
    width, _, patch, _ = state["visual.trunk.patch_embed.proj.weight"].shape
    side_px = math.isqrt(state["visual.trunk.pos_embed"].shape[1]) * patch
    block, text_block = "visual.trunk.blocks.0.mlp.fc1.weight", "text.transformer.resblocks.0.mlp.c_fc.weight"
    timm_settings = {
        "img_size": side_px,
        "patch_size": patch,
        "embed_dim": width,
        "depth": count_layers(state, "visual.trunk.blocks."),
        "num_heads": heads[0],
        "mlp_ratio": state[block].shape[0] / width,
        "class_token": False,
        "global_pool": "map",
        "act_layer": {"gelu": "gelu", "gelu_pytorch_tanh": "gelu_tanh"}.get(activation, activation),
    }
    text_config: dict[str, Any] = {
        "context_length": state["text.positional_embedding"].shape[0],
        "vocab_size": words,
        "hf_tokenizer_name": _TOKENIZERS.get(words, "."),
        "tokenizer_kwargs": {"clean": "canonicalize"},
        "width": text_width,
        "heads": heads[1],
        "layers": count_layers(state, "text.transformer.resblocks."),
        "mlp_ratio": state[text_block].shape[0] / text_width,
        "no_causal_mask": True,
        "proj_bias": True,
        "pool_type": "last",
        "norm_kwargs": {"eps": 1e-6},
        "act_kwargs": {"approximate": "tanh"},
    }
    config = {
        "embed_dim": state["text.text_projection.weight"].shape[0],
        "init_logit_bias": -10,
        "custom_text": True,
        "vision_cfg": {"image_size": side_px, "timm_settings": timm_settings},
        "text_cfg": text_config,
    }
    return Checkpoint(state, config, False, {"mean": _HALF, "std": _HALF, **preprocess})


_FLAX_BLOCK = re.compile(r"^(.*/)?encoderblock(?:_(\d+))?/(.*)$")
_FLAX_IMAGE = (
    (r"^embedding/", "patch_embed.proj."),
    (r"^pos_embedding$", "pos_embed"),
    (r"^encoder_norm/", "norm."),
    (r"^MAPHead_0/probe$", "attn_pool.latent"),
    (r"^MAPHead_0/LayerNorm_0/", "attn_pool.norm."),
    (r"^MAPHead_0/MlpBlock_0/Dense_0/", "attn_pool.mlp.fc1."),
    (r"^MAPHead_0/MlpBlock_0/Dense_1/", "attn_pool.mlp.fc2."),
    (r"^MAPHead_0/attention/out/", "attn_pool.proj."),
    (r"^MAPHead_0/attention/(q|kv)/", r"attn_pool.\1."),
    (r"/attention/qkv/", ".attn.qkv."),
    (r"/attention/out/", ".attn.proj."),
    (r"/LayerNorm_0/", ".norm1."),
    (r"/LayerNorm_1/", ".norm2."),
    (r"/MlpBlock_0/Dense_0/", ".mlp.fc1."),
    (r"/MlpBlock_0/Dense_1/", ".mlp.fc2."),
)
_FLAX_TEXT = (
    (r"^Embed_0/embedding$", "token_embedding.weight"),
    (r"^pos_embedding$", "positional_embedding"),
    (r"^encoder_norm/", "ln_final."),
    (r"^head/", "text_projection."),
    (r"^blocks\.", "transformer.resblocks."),
    (r"/attention/qkv/", ".attn.in_proj_"),
    (r"/attention/out/", ".attn.out_proj."),
    (r"/LayerNorm_0/", ".ln_1."),
    (r"/LayerNorm_1/", ".ln_2."),
    (r"/MlpBlock_0/Dense_0/", ".mlp.c_fc."),
    (r"/MlpBlock_0/Dense_1/", ".mlp.c_proj."),
)


def _flax_heads(arrays: State, tower: str) -> int:
    kernel = next(name for name in arrays if name.startswith(f"{tower}/") and name.endswith("/query/kernel"))
    return arrays[kernel].shape[-2]


def _flax_tower(arrays: State, tower: str) -> dict[str, Tensor]:
    """Arrays of one tower with blocks numbered ``blocks.N``, attention fused, and torch's orientation of kernels."""
    flat: dict[str, Tensor] = {}
    for name, value in arrays.items():
        if not name.startswith(f"{tower}/"):
            continue
        name = name.removeprefix(f"{tower}/")
        block = _FLAX_BLOCK.match(name)
        if block is None:
            name = re.sub(r"^(Transformer|Encoder_0)/", "", name)
            flat[name] = value
        elif block[2] is not None:
            flat[f"blocks.{block[2]}/{block[3]}"] = value
        else:
            flat.update({f"blocks.{index}/{block[3]}": row for index, row in enumerate(value)})
    return _fuse_flax({name: _torch_form(name, value) for name, value in flat.items()})


def _torch_form(name: str, value: Tensor) -> Tensor:
    """flax's orientation to torch's: linear kernels (in, out), attention kernels with heads, convolutions HWIO."""
    part, leaf = name.split("/")[-2:] if "/" in name else ("", name)
    if part in ("query", "key", "value"):
        return value.flatten(1).T if leaf == "kernel" else value.flatten()
    if part == "out" and leaf == "kernel":
        return value.flatten(0, 1).T
    if leaf == "kernel":
        return value.permute(3, 2, 0, 1) if value.ndim == 4 else value.T
    return value


def _fuse_flax(state: State) -> dict[str, Tensor]:
    """Attention's three kernels as one (``kv`` apart from ``q`` in the pool); torch's leaf names."""
    fused: dict[str, Tensor] = {}
    for name, value in state.items():
        head, _, tail = name.rpartition("/")
        leaf = {"kernel": "weight", "scale": "weight"}.get(tail, tail)
        prefix, _, part = head.rpartition("/")
        owner = prefix.replace("MultiHeadDotProductAttention_0", "attention")
        if not owner.endswith("attention"):
            fused[f"{head}/{leaf}" if head and leaf in ("weight", "bias") else name] = value
        elif part == "out":
            fused[f"{owner}/out/{leaf}"] = value
        elif part == "query":
            key, rest = (state[f"{prefix}/{other}/{tail}"] for other in ("key", "value"))
            if owner.startswith("MAPHead"):
                fused[f"{owner}/q/{leaf}"], fused[f"{owner}/kv/{leaf}"] = value, torch.cat([key, rest])
            else:
                fused[f"{owner}/qkv/{leaf}"] = torch.cat([value, key, rest])
    return fused
