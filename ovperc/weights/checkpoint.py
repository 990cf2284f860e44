"""Weights in the names of the class that runs them, and the tools that bring them there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ovperc.weights.errors import CheckpointError

State = Mapping[str, Tensor]
Side = Mapping[str, dict[str, Any]]
"""Contents of the JSON files next to the weights, by file name."""
Rules = Iterable[tuple[str, str]]

_TEXT_PARTS = ("text_projection", "positional_embedding", "token_embedding", "transformer", "ln_final")
_BUFFERS = ("num_batches_tracked", "position_ids", "attn_mask")
_PILLOW_FILTERS = {1: "lanczos", 2: "bilinear", 3: "bicubic"}


@dataclass(frozen=True)
class Checkpoint:
    """What a file gives once its layout is understood.

    Attributes:
        state: tensors under the names of open_clip's, timm's or segment-anything's class.
        config: open_clip's model config, or keywords of timm's class; None where the shapes must tell.
        quick_gelu: activation the weights were trained with; None where nothing tells.
        preprocess: ``mean``, ``std``, ``interpolation`` and ``resize_mode``, as far as known.
        arch: name of the architecture; None where the file does not tell.
    """

    state: dict[str, Tensor]
    config: dict[str, Any] | None = None
    quick_gelu: bool | None = None
    preprocess: dict[str, Any] = field(default_factory=dict)
    arch: str | None = None


def rename(state: State, rules: Rules) -> dict[str, Tensor]:
    """Applies every rule ``(pattern, replacement)``, in order, to every name."""
    compiled = [(re.compile(pattern), replacement) for pattern, replacement in rules]
    renamed = {}
    for name, value in state.items():
        for pattern, replacement in compiled:
            name = pattern.sub(replacement, name)
        renamed[name] = value
    return renamed


def fuse(state: State, parts: tuple[str, ...], fused: str, *, without_bias: str = "") -> dict[str, Tensor]:
    """Concatenates layers that a layout keeps apart, such as query, key and value.

    Args:
        state: names such as ``a.q_proj.weight``.
        parts: dotted tails in the order of the rows, such as ``("q_proj", "k_proj", "v_proj")``.
        fused: tail of the result; ``{}`` stands for ``weight`` or ``bias``.
        without_bias: a part that has no bias where the others have one, as the keys of DINOv3; it gets zeros.

    Raises:
        CheckpointError: a part is missing.
    """
    result: dict[str, Tensor] = {}
    for name, value in state.items():
        stem, tail = name.rpartition(".")[::2]
        part = next((part for part in parts if stem == part or stem.endswith(f".{part}")), None)
        if part is None or tail not in ("weight", "bias"):
            result[name] = value
            continue
        prefix = stem.removesuffix(part)
        target = prefix + fused.format(tail)
        if target not in result:
            result[target] = torch.cat([_part(state, prefix + each, tail, each == without_bias) for each in parts])
    return result


def _part(state: State, stem: str, tail: str, biasless: bool) -> Tensor:
    found = state.get(f"{stem}.{tail}")
    weight = state.get(f"{stem}.weight")
    if found is None and biasless and tail == "bias" and weight is not None:
        return weight.new_zeros(weight.shape[0])
    if found is None:
        raise CheckpointError(f"these weights are incomplete: there is no {stem}.{tail}")
    return found


def count_layers(state: State, prefix: str) -> int:
    """Number of distinct indices right after a prefix such as ``blocks.``."""
    return len({name[len(prefix) :].split(".")[0] for name in state if name.startswith(prefix)})


def processor_preprocess(side: Side) -> dict[str, Any]:
    """Normalisation and resize from transformers' ``preprocessor_config.json``."""
    processor = side.get("preprocessor_config.json", {})
    named = {"mean": processor.get("image_mean"), "std": processor.get("image_std")}
    found: dict[str, Any] = {key: tuple(value) for key, value in named.items() if value}
    resample = _PILLOW_FILTERS.get(processor.get("resample", -1))
    found |= {"interpolation": resample} if resample else {}
    size = processor.get("size")
    return {**found, "resize_mode": "squash"} if isinstance(size, dict) and "height" in size else found


def fit_text_prefix(state: State, model: nn.Module) -> dict[str, Tensor]:
    """Moves text keys under ``text.`` or out of it, as the model at hand keeps them."""
    custom = hasattr(model, "text")
    if custom and "text_projection" in state:
        return {f"text.{key}" if key.split(".")[0] in _TEXT_PARTS else key: value for key, value in state.items()}
    if not custom and "text.text_projection" in state:
        return {key.removeprefix("text."): value for key, value in state.items()}
    return dict(state)


def load_into(model: nn.Module, state: State, arch: str, source: str) -> None:
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
    missing = [name for name in wanted if name not in state and not name.endswith(_BUFFERS)]
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
    state: State,
    wanted: State,
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
