"""Layouts of Segment Anything, brought to segment-anything's class: its own and transformers'."""

from __future__ import annotations

from ovperc.weights.checkpoint import Checkpoint, Side, State, count_layers, rename

_TRANSFORMERS_RULES = (
    (r"^vision_encoder\.patch_embed\.projection\.", "image_encoder.patch_embed.proj."),
    (r"^vision_encoder\.layers\.", "image_encoder.blocks."),
    (r"^vision_encoder\.neck\.conv1\.", "image_encoder.neck.0."),
    (r"^vision_encoder\.neck\.layer_norm1\.", "image_encoder.neck.1."),
    (r"^vision_encoder\.neck\.conv2\.", "image_encoder.neck.2."),
    (r"^vision_encoder\.neck\.layer_norm2\.", "image_encoder.neck.3."),
    (r"^vision_encoder\.", "image_encoder."),
    (r"^(image_encoder\.blocks\..*)\.layer_norm([12])\.", r"\1.norm\2."),
    (r"^prompt_encoder\.shared_embedding\.positional_embedding$", ""),
    (r"^shared_image_embedding\.positional_embedding$", "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"),
    (r"^prompt_encoder\.mask_embed\.conv1\.", "prompt_encoder.mask_downscaling.0."),
    (r"^prompt_encoder\.mask_embed\.layer_norm1\.", "prompt_encoder.mask_downscaling.1."),
    (r"^prompt_encoder\.mask_embed\.conv2\.", "prompt_encoder.mask_downscaling.3."),
    (r"^prompt_encoder\.mask_embed\.layer_norm2\.", "prompt_encoder.mask_downscaling.4."),
    (r"^prompt_encoder\.mask_embed\.conv3\.", "prompt_encoder.mask_downscaling.6."),
    (r"^prompt_encoder\.point_embed\.", "prompt_encoder.point_embeddings."),
    (r"^prompt_encoder\.(no_mask|not_a_point)_embed\.", r"prompt_encoder.\1_embed."),
    (r"^(mask_decoder\.transformer\.layers\..*)\.layer_norm([1-4])\.", r"\1.norm\2."),
    (r"^mask_decoder\.transformer\.layer_norm_final_attn\.", "mask_decoder.transformer.norm_final_attn."),
    (r"^mask_decoder\.upscale_conv1\.", "mask_decoder.output_upscaling.0."),
    (r"^mask_decoder\.upscale_layer_norm\.", "mask_decoder.output_upscaling.1."),
    (r"^mask_decoder\.upscale_conv2\.", "mask_decoder.output_upscaling.3."),
)


def from_segment_anything(state: State, side: Side) -> Checkpoint:
    """segment-anything's own names."""
    return Checkpoint(dict(state))


def from_transformers(state: State, side: Side) -> Checkpoint:
    """``SamModel`` of transformers."""
    renamed = rename(state, _TRANSFORMERS_RULES)
    renamed.pop("", None)
    heads = {name[: name.index(".proj_in.")] for name in renamed if ".proj_in." in name}
    for head in heads:  # an MLP's first and last layer stand apart from the inner ones
        inner = count_layers(renamed, f"{head}.layers.")
        moves = {f"{head}.layers.{index}.": f"{head}.layers.{index + 1}." for index in reversed(range(inner))}
        moves |= {f"{head}.proj_in.": f"{head}.layers.0.", f"{head}.proj_out.": f"{head}.layers.{inner + 1}."}
        renamed = {_move(name, moves): value for name, value in renamed.items()}
    return Checkpoint(renamed)


def _move(name: str, moves: dict[str, str]) -> str:
    start = next((old for old in moves if name.startswith(old)), None)
    return name if start is None else moves[start] + name.removeprefix(start)
