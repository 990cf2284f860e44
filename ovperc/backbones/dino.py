"""Image towers without a text side: DINO, DINOv2, DINOv3, MAE and other plain ViTs, through timm's classes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from timm.layers import SwiGLUPacked
from timm.models import eva as timm_eva
from timm.models import vision_transformer as timm_vit
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from ovperc.backbones.base import DenseBackbone
from ovperc.backbones.clip_timm import TimmTransformer
from ovperc.backbones.loading import Preprocess
from ovperc.backbones.mini_archs import DINO_ARCH, vit_mini_dino
from ovperc.core.naming import suggest
from ovperc.weights.catalogue import CATALOGUE, IMAGENET_MEAN, IMAGENET_STD, resolve_weights
from ovperc.weights.layouts import load_into
from ovperc.weights.reading import CheckpointError, read_checkpoint

_HEAD_WIDTH = 64
_TRAINING_PARTS = ("head.", "mask_token", "decoder", "dino_head", "ibot_head", "fc_norm.")
_DINOV3 = {384: "vit_small_patch16_dinov3", 768: "vit_base_patch16_dinov3", 1024: "vit_large_patch16_dinov3"}


@dataclass(frozen=True)
class VisionModel:
    """An image tower without a text side.

    Attributes:
        backbone: the tower behind the taps.
        preprocess: what the weights ask of an image.
        arch: architecture name; ``ViT`` with its sizes where it was read from the shapes.
        source: where the weights came from, in words.
    """

    backbone: DenseBackbone
    preprocess: Preprocess
    arch: str
    source: str


def load_dino(
    weights: str | Path = "dino-mini",
    arch: str | None = None,
    *,
    num_heads: int | None = None,
    pos_embed: str = "scale",
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> VisionModel:
    """Loads a self-supervised ViT.

    Args:
        weights: a catalogue name (``"dino-vitb8"``, ``"dinov2-vitb14-reg"``), a file in timm's, DINO's, DINOv2's,
            DINOv3's or MAE's layout, or ``"random"`` (seeded; needs ``arch``).
        arch: timm architecture. May be left out for plain ViTs, whose sizes are read from the shapes.
        num_heads: of such a ViT; left out, heads are 64 wide as in all published ones.
        pos_embed: how the position table is resized; ``scale`` is DINO's own rule.
        device: where the tower goes.
        dtype: of all weights; position tables are resized in float32.

    Raises:
        ValueError: unknown names, or weights that do not fit the architecture.
        FileNotFoundError: no such file; ``MissingWeightsError`` says what to get and where to put it.
    """
    name = str(weights)
    rows = {entry.name: entry for entry in CATALOGUE if entry.family == "vision"}
    if name == "random":
        if arch is None:
            raise ValueError("random weights need an arch, such as arch='vit_base_patch16_224'")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            trunk = build_trunk(arch)
    else:
        path = Path(name).expanduser()
        if name in rows:
            path, arch = resolve_weights(name), arch or rows[name].arch
        elif not path.is_file():
            raise _unknown(name, rows)
        state = _backbone_state(read_checkpoint(path))
        trunk = _build_for(state, arch, num_heads, name)
    arch = arch or _describe(trunk)
    backbone = TimmTransformer(trunk, pos_embed).to(device=device, dtype=dtype).eval()
    return VisionModel(backbone, _preprocess(trunk, arch), arch, name)


def build_trunk(arch: str, **settings: Any) -> VisionTransformer | Eva:
    """timm's model of a name, without a classifier, with random weights; nothing is downloaded.

    Raises:
        ValueError: an unknown name; offers near matches.
    """
    if arch == DINO_ARCH:
        return vit_mini_dino(**settings).eval()
    if not timm.is_model(arch):
        raise ValueError(f"unknown arch {arch!r}; {suggest(arch, [DINO_ARCH, *timm.list_models('*vit*')])}")
    return timm.create_model(arch, pretrained=False, num_classes=0, **settings).eval()


def infer_settings(state: Mapping[str, Tensor], num_heads: int | None = None) -> dict[str, Any]:
    """Arguments of timm's ``VisionTransformer`` whose shapes are those of a table.

    Args:
        state: weights in timm's, DINO's or DINOv2's layout.
        num_heads: left out, heads are 64 wide.

    Raises:
        CheckpointError: the table is not that of a plain ViT.
    """
    needed = ("patch_embed.proj.weight", "pos_embed", "blocks.0.attn.qkv.weight", "norm.weight")
    absent = [name for name in needed if name not in state]
    if absent:
        raise CheckpointError(
            f"these weights are no plain ViT (there is no {absent[0]}); pass arch, the timm name they belong to. "
            f"The file begins with {next(iter(state), 'nothing')}"
        )
    width, _, patch, _ = state["patch_embed.proj.weight"].shape
    packed = "blocks.0.mlp.w12.weight" in state
    hidden = state["blocks.0.mlp.w3.weight" if packed else "blocks.0.mlp.fc1.weight"]
    registers = next((state[name].shape[1] for name in ("register_tokens", "reg_token") if name in state), 0)
    rows = state["pos_embed"].shape[1]
    side = math.isqrt(rows)
    return {
        "patch_size": patch,
        "img_size": side * patch,
        "embed_dim": width,
        "depth": len({name.split(".")[1] for name in state if name.startswith("blocks.")}),
        "num_heads": num_heads or max(width // _HEAD_WIDTH, 1),
        "mlp_ratio": (2 * hidden.shape[1] if packed else hidden.shape[0]) / width,
        "mlp_layer": SwiGLUPacked if packed else timm_vit.Mlp,
        "qkv_bias": "blocks.0.attn.qkv.bias" in state,
        "init_values": 1e-5 if "blocks.0.ls1.gamma" in state else None,
        "class_token": "cls_token" in state,
        "reg_tokens": registers,
        "no_embed_class": registers > 0 or side * side == rows,
        "num_classes": 0,
    }


def _build_for(
    state: dict[str, Tensor], arch: str | None, num_heads: int | None, source: str
) -> VisionTransformer | Eva:
    """Builds the trunk that a table belongs to and fills it."""
    if arch is None and ("storage_tokens" in state or "rope_embed.periods" in state):
        arch = _DINOV3.get(state["patch_embed.proj.weight"].shape[0])
    if arch is None:
        trunk: nn.Module = VisionTransformer(**infer_settings(state, num_heads)).eval()
    else:
        trunk = build_trunk(arch)
        _check_patch(trunk, state, arch, source)
    convert = timm_eva.checkpoint_filter_fn if isinstance(trunk, Eva) else timm_vit.checkpoint_filter_fn
    table = state if arch == DINO_ARCH else convert(dict(state), trunk)
    kept = trunk.state_dict()
    table = {name: value for name, value in table.items() if name in kept or not name.startswith(_TRAINING_PARTS)}
    load_into(trunk, table, arch or _describe(trunk), source)
    return trunk


def _check_patch(trunk: nn.Module, state: Mapping[str, Tensor], arch: str, source: str) -> None:
    """Raises CheckpointError for patches of another size, which timm would resample without a word."""
    name = "patch_embed.proj.weight"
    wanted = trunk.state_dict().get(name)
    if wanted is not None and name in state and state[name].shape != wanted.shape:
        raise CheckpointError(
            f"{source} does not fit the architecture {arch}: {name} is {tuple(state[name].shape)} in the file and "
            f"{tuple(wanted.shape)} in the model; leave arch out to read it from the shapes"
        )


def _backbone_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tower's part of a training checkpoint: keys under ``backbone.``, where there are such."""
    inside = {name: value for name, value in state.items() if name.startswith("backbone.")}
    return {name.removeprefix("backbone."): value for name, value in inside.items()} or state


def _preprocess(trunk: nn.Module, arch: str) -> Preprocess:
    """ImageNet's constants, which all of these were trained with, unless timm's table says otherwise."""
    known = getattr(trunk, "pretrained_cfg", None) or {}
    size = trunk.patch_embed.img_size or known.get("input_size", (3, 224, 224))[1:]
    mean, std = (known.get("mean", IMAGENET_MEAN), known.get("std", IMAGENET_STD))
    if "dino" in arch or not known:
        mean, std = IMAGENET_MEAN, IMAGENET_STD
    return Preprocess(tuple(mean), tuple(std), int(size[0]))


def _describe(trunk: VisionTransformer | Eva) -> str:
    return f"ViT width {trunk.embed_dim}, depth {len(trunk.blocks)}, patch {trunk.patch_embed.patch_size[0]}"


def _unknown(name: str, rows: Mapping[str, Any]) -> Exception:
    if Path(name).suffix in (".pth", ".pt", ".bin", ".safetensors") or name.startswith((".", "/", "~")):
        return FileNotFoundError(f"there is no weights file {name}")
    return ValueError(f"unknown weights {name!r}: neither a file nor a name; {suggest(name, rows)}")
