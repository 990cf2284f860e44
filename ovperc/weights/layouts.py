"""State-dict layouts: Hugging Face's keys to OpenCLIP's, text prefixes, and loading with errors that name keys."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ovperc.weights.reading import CheckpointError

OPENAI_SCALARS = ("input_resolution", "context_length", "vocab_size")
_TEXT_PARTS = ("text_projection", "positional_embedding", "token_embedding", "transformer", "ln_final")
_HF_NAMES = (
    (r"^vision_model\.encoder\.layers\.", "visual.transformer.resblocks."),
    (r"^text_model\.encoder\.layers\.", "transformer.resblocks."),
    (r"\.self_attn\.out_proj\.", ".attn.out_proj."),
    (r"\.layer_norm1\.", ".ln_1."),
    (r"\.layer_norm2\.", ".ln_2."),
    (r"\.mlp\.fc1\.", ".mlp.c_fc."),
    (r"\.mlp\.fc2\.", ".mlp.c_proj."),
    (r"^vision_model\.embeddings\.class_embedding$", "visual.class_embedding"),
    (r"^vision_model\.embeddings\.patch_embedding\.weight$", "visual.conv1.weight"),
    (r"^vision_model\.embeddings\.position_embedding\.weight$", "visual.positional_embedding"),
    (r"^vision_model\.pre_layrnorm\.", "visual.ln_pre."),  # sic, in Hugging Face's code
    (r"^vision_model\.post_layernorm\.", "visual.ln_post."),
    (r"^visual_projection\.weight$", "visual.proj"),
    (r"^text_model\.embeddings\.token_embedding\.", "token_embedding."),
    (r"^text_model\.embeddings\.position_embedding\.weight$", "positional_embedding"),
    (r"^text_model\.final_layer_norm\.", "ln_final."),
    (r"^text_projection\.weight$", "text_projection"),
)


_EVA_NAMES = (
    (r"^visual\.", "visual.trunk."),
    (r"\.mlp\.ffn_ln\.", ".mlp.norm."),
    (r"\.attn\.inner_attn_ln\.", ".attn.norm."),
    (r"\.mlp\.w1\.", ".mlp.fc1_g."),
    (r"\.mlp\.w2\.", ".mlp.fc1_x."),
    (r"\.mlp\.w3\.", ".mlp.fc2."),
)


def is_hugging_face(state: Mapping[str, Tensor]) -> bool:
    """Whether the keys are those of ``transformers.CLIPModel``."""
    return "vision_model.embeddings.class_embedding" in state and "text_model.final_layer_norm.weight" in state


def is_eva(state: Mapping[str, Tensor]) -> bool:
    """Whether the keys are those of EVA-CLIP's own code (and CLIPSelf's), not of timm's towers."""
    return "visual.patch_embed.proj.weight" in state and "visual.blocks.0.norm1.weight" in state


def is_openai(state: Mapping[str, Tensor]) -> bool:
    """Whether the table carries the scalars that only OpenAI's archives hold."""
    return all(name in state for name in OPENAI_SCALARS)


def to_openclip(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Brings OpenAI's, OpenCLIP's, Hugging Face's and EVA-CLIP's layouts to OpenCLIP's keys."""
    kept = {
        name: value
        for name, value in state.items()
        if name not in OPENAI_SCALARS and not name.endswith("position_ids") and name != "attn_mask"
    }
    if is_eva(kept):
        return _from_eva(kept)
    return _from_hugging_face(kept) if is_hugging_face(kept) else kept


def _from_eva(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """timm's names for the tower; its rotary tables are computed, so stored ones are left out."""
    split = any(name.endswith(".attn.q_proj.weight") for name in state)
    converted: dict[str, Tensor] = {}
    for name, value in state.items():
        if name.startswith("visual."):
            if ".rope." in name or name.startswith("visual.rope"):
                continue
            for pattern, replacement in _EVA_NAMES:
                name = re.sub(pattern, replacement, name)
            if split:
                name = re.sub(r"\.attn\.([qv])_bias$", r".attn.\1_proj.bias", name)
        converted[name] = value
    return converted


def _from_hugging_face(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    converted: dict[str, Tensor] = {}
    for name, value in state.items():
        part = re.match(r"(.*)\.self_attn\.q_proj\.(weight|bias)$", name)
        if part:
            rows = [state[f"{part[1]}.self_attn.{point}_proj.{part[2]}"] for point in "qkv"]
            name, value = f"{part[1]}.attn.in_proj_{part[2]}", torch.cat(rows)
        elif re.search(r"\.self_attn\.[kv]_proj\.", name):
            continue
        if name in ("visual_projection.weight", "text_projection.weight"):
            value = value.T
        for pattern, replacement in _HF_NAMES:
            name = re.sub(pattern, replacement, name)
        converted[name] = value
    return converted


def fit_text_prefix(state: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Moves text keys under ``text.`` or out of it, as the model at hand keeps them."""
    custom = hasattr(model, "text")
    if custom and "text_projection" in state:
        return {f"text.{key}" if key.split(".")[0] in _TEXT_PARTS else key: value for key, value in state.items()}
    if not custom and "text.text_projection" in state:
        return {key.removeprefix("text."): value for key, value in state.items()}
    return dict(state)


def load_into(model: nn.Module, state: Mapping[str, Tensor], arch: str, source: str) -> None:
    """Copies a table into the model, strictly.

    Raises:
        CheckpointError: keys or shapes differ; names the first missing, unexpected and mismatched ones.
    """
    state = fit_text_prefix(state, model)
    wanted = model.state_dict()
    for name in ("logit_scale", "logit_bias"):
        if name in wanted and name in state and state[name].numel() == 1:
            state[name] = state[name].reshape(wanted[name].shape)
    if "logit_bias" in wanted and "logit_bias" not in state:
        state["logit_bias"] = torch.zeros_like(wanted["logit_bias"])
    missing = [name for name in wanted if name not in state and not name.endswith("num_batches_tracked")]
    unexpected = [name for name in state if name not in wanted and name not in ("logit_scale", "logit_bias")]
    mismatched = [name for name in wanted if name in state and state[name].shape != wanted[name].shape]
    if missing or unexpected or mismatched:
        raise CheckpointError(_difference(arch, source, missing, unexpected, mismatched, state, wanted))
    model.load_state_dict({name: state[name] for name in wanted if name in state}, strict=False)


def _difference(
    arch: str,
    source: str,
    missing: list[str],
    unexpected: list[str],
    mismatched: list[str],
    state: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
) -> str:
    lines = [f"{source} does not fit the architecture {arch}:"]
    if missing:
        lines.append(f"  {len(missing)} keys missing, the first is {missing[0]}")
    if unexpected:
        lines.append(f"  {len(unexpected)} keys unexpected, the first is {unexpected[0]}")
    if mismatched:
        name = mismatched[0]
        have, want = tuple(state[name].shape), tuple(wanted[name].shape)
        lines.append(f"  {len(mismatched)} shapes differ, the first is {name}: {have} in the file, {want} in the model")
    lines.append("  pass the arch that these weights were trained with, or leave arch out to read it from the shapes")
    return "\n".join(lines)
