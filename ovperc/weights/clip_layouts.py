"""Layouts of CLIP's descendants, brought to open_clip's ``CLIP``: OpenAI, Long-CLIP, transformers, EVA-CLIP."""

from __future__ import annotations

import math
import re
from typing import Any

import torch
from torch import Tensor

from ovperc.weights.checkpoint import (
    Checkpoint,
    Side,
    State,
    count_layers,
    fuse,
    processor_preprocess,
    rename,
)

OWN_TOKENIZER = "."
"""``hf_tokenizer_name`` of weights whose tokenizer lies next to them and nowhere else."""
_PREPROCESS = ("mean", "std", "interpolation", "resize_mode")
OPENAI_SCALARS = ("input_resolution", "context_length", "vocab_size")
_QKV = ("q_proj", "k_proj", "v_proj")
_LONG_CLIP_KEPT = 20
"""Positions that Long-CLIP took over from CLIP; later ones come from its second table (Zhang et al., ECCV 2024)."""
_TRANSFORMERS_RULES = (
    (r"^vision_model\.encoder\.layers\.", "visual.transformer.resblocks."),
    (r"^text_model\.encoder\.layers\.", "transformer.resblocks."),
    (r"\.self_attn\.(in_proj_|out_proj\.)", r".attn.\1"),
    (r"\.layer_norm([12])\.", r".ln_\1."),
    (r"\.mlp\.fc1\.", ".mlp.c_fc."),
    (r"\.mlp\.fc2\.", ".mlp.c_proj."),
    (r"^vision_model\.embeddings\.class_embedding$", "visual.class_embedding"),
    (r"^vision_model\.embeddings\.patch_embedding\.weight$", "visual.conv1.weight"),
    (r"^vision_model\.embeddings\.position_embedding\.weight$", "visual.positional_embedding"),
    (r"^vision_model\.pre_layrnorm\.", "visual.ln_pre."),  # sic, in transformers
    (r"^vision_model\.post_layernorm\.", "visual.ln_post."),
    (r"^visual_projection\.weight$", "visual.proj"),
    (r"^text_model\.embeddings\.token_embedding\.", "token_embedding."),
    (r"^text_model\.embeddings\.position_embedding\.weight$", "positional_embedding"),
    (r"^text_model\.final_layer_norm\.", "ln_final."),
    (r"^text_projection\.weight$", "text_projection"),
)
_FG_CLIP_PARTS = re.compile(r"position_embedding_(res|ori)|^text_filip_projection|^logit_scale_(finegraind|hardneg)$")
_EVA_RULES = (
    (r"^visual\.", "visual.trunk."),
    (r"\.mlp\.ffn_ln\.", ".mlp.norm."),
    (r"\.attn\.inner_attn_ln\.", ".attn.norm."),
    (r"\.mlp\.w1\.", ".mlp.fc1_g."),
    (r"\.mlp\.w2\.", ".mlp.fc1_x."),
    (r"\.mlp\.w3\.", ".mlp.fc2."),
)


def from_openai(state: State, side: Side) -> Checkpoint:
    """OpenAI's archives: open_clip's own names, three scalars more, always QuickGELU."""
    return Checkpoint(_without_buffers(state), quick_gelu=True)


def from_long_clip(state: State, side: Side) -> Checkpoint:
    """Long-CLIP's ``longclip-B.pt``: of its 248 positions, the first 20 stand in one table and the rest in another."""
    kept = dict(state)
    first, rest = kept["positional_embedding"], kept.pop("positional_embedding_res")
    kept["positional_embedding"] = torch.cat([first[:_LONG_CLIP_KEPT], rest[_LONG_CLIP_KEPT:]])
    return Checkpoint(_without_buffers(kept), sized_config(kept), quick_gelu=True)


def from_open_clip(state: State, side: Side) -> Checkpoint:
    """open_clip's own names, explained by ``open_clip_config.json`` where it lies next to the file."""
    config = side.get("open_clip_config.json", {})
    preprocess = {key: value for key, value in config.get("preprocess_cfg", {}).items() if key in _PREPROCESS}
    model = config.get("model_cfg")
    quick_gelu = None if model is None else bool(model.get("quick_gelu", False))
    return Checkpoint(_without_buffers(state), model, quick_gelu, preprocess)


def from_transformers(state: State, side: Side) -> Checkpoint:
    """``CLIPModel`` or ``MetaClip2Model`` of transformers, of the sizes in ``config.json``.

    FG-CLIP's is the same with parts for long captions and boxes, which prompts of 77 tokens do not pass.
    """
    fused = fuse(_without_buffers(state), _QKV, "in_proj_{}")
    fused = {name: value for name, value in fused.items() if not _FG_CLIP_PARTS.search(name)}
    for name in ("visual_projection.weight", "text_projection.weight"):
        fused[name] = fused[name].T
    converted = rename(fused, _TRANSFORMERS_RULES)
    config = side.get("config.json", {})
    if not config:
        return Checkpoint(converted, preprocess=processor_preprocess(side))
    # Files leave hidden_act out where it is the default.
    quick_gelu = config.get("vision_config", {}).get("hidden_act", "quick_gelu") == "quick_gelu"
    return Checkpoint(converted, _transformers_config(converted, config), quick_gelu, processor_preprocess(side))


def from_eva(state: State, side: Side) -> Checkpoint:
    """EVA-CLIP's own code, and CLIPSelf's and DeCLIP's: timm's names; rotary tables are computed, stored ones left."""
    visual = {name: value for name, value in state.items() if name.startswith("visual.") and "rope." not in name}
    split = any(name.endswith(".attn.q_proj.weight") for name in visual)
    rules = [*_EVA_RULES, (r"\.attn\.([qv])_bias$", r".attn.\1_proj.bias")] if split else _EVA_RULES
    rest = {name: value for name, value in state.items() if not name.startswith("visual.")}
    return Checkpoint({**rename(visual, rules), **_without_buffers(rest)}, quick_gelu=False)


def from_region_clip(state: State, side: Side) -> Checkpoint:
    """RegionCLIP's detectron2 modules: the student's image tower and the frozen text tower; OpenAI's activation."""
    image = {f"visual.{name[9:]}": value for name, value in state.items() if name.startswith("backbone.")}
    text = {name[13:]: value for name, value in state.items() if name.startswith("lang_encoder.")}
    scale = {"logit_scale": torch.tensor(math.log(100.0))}
    return Checkpoint({**scale, **image, **_without_buffers(text)}, quick_gelu=True)


def sized_config(
    state: State, vision_heads: int | None = None, text_heads: int | None = None, context: int | None = None
) -> dict[str, Any]:
    """open_clip's config of a CLIP ViT whose sizes are those of the tensors.

    Args:
        state: in open_clip's names.
        vision_heads, text_heads: attention heads; left out, they are 64 wide.
        context: tokens of a prompt; left out, the rows of the table.
    """
    width, _, patch, _ = state["visual.conv1.weight"].shape
    words, text_width = state["token_embedding.weight"].shape
    side = math.isqrt(state["visual.positional_embedding"].shape[0] - 1)
    hidden = state["visual.transformer.resblocks.0.mlp.c_fc.weight"].shape[0]
    text_hidden = state["transformer.resblocks.0.mlp.c_fc.weight"].shape[0]
    return {
        "embed_dim": state["text_projection"].shape[1],
        "vision_cfg": {
            "image_size": side * patch,
            "layers": count_layers(state, "visual.transformer.resblocks."),
            "width": width,
            "patch_size": patch,
            "head_width": width // vision_heads if vision_heads else 64,
            "mlp_ratio": hidden / width,
        },
        "text_cfg": {
            "context_length": context or state["positional_embedding"].shape[0],
            "vocab_size": words,
            "width": text_width,
            "heads": text_heads or text_width // 64,
            "layers": count_layers(state, "transformer.resblocks."),
            "mlp_ratio": text_hidden / text_width,
        },
    }


_CLIP_VOCABULARY = 49408
_OLD_END_TOKEN = 2
"""``eos_token_id`` of early CLIP configs, wrong but harmless: transformers pools these at the highest id instead."""


def _transformers_config(state: State, config: dict[str, Any]) -> dict[str, Any]:
    vision, text = config.get("vision_config", {}), config.get("text_config", {})
    sized = sized_config(state, vision.get("num_attention_heads", 12), text.get("num_attention_heads", 8))
    words = sized["text_cfg"]["vocab_size"]
    if config.get("model_type") == "metaclip_2":
        tokenizer = {"hf_tokenizer_name": "facebook/xlm-v-base", "pool_type": "eos"}
        sized["text_cfg"].update(tokenizer, eos_id=text.get("eos_token_id", _OLD_END_TOKEN))
    elif words != _CLIP_VOCABULARY:
        sized["text_cfg"].update(hf_tokenizer_name=OWN_TOKENIZER)
        if text.get("eos_token_id", _OLD_END_TOKEN) != _OLD_END_TOKEN:
            sized["text_cfg"].update(pool_type="eos", eos_id=text["eos_token_id"])
    for part, source in (("vision_cfg", vision), ("text_cfg", text)):
        if source.get("layer_norm_eps", 1e-5) != 1e-5:
            sized[part]["norm_kwargs"] = {"eps": source["layer_norm_eps"]}
    return sized


def _without_buffers(state: State) -> dict[str, Tensor]:
    dropped = re.compile(r"(^|\.)(position_ids|attn_mask)$")
    return {name: value for name, value in state.items() if name not in OPENAI_SCALARS and not dropped.search(name)}
