"""Image towers without a text side: DINO, DINOv2, DINOv3, MAE and other plain ViTs, through timm's classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
from timm.layers import LayerNorm, SwiGLUPacked
from timm.models import vision_transformer as timm_vit
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from ovperc.backbones.base import DenseBackbone
from ovperc.backbones.clip_timm import TimmTransformer
from ovperc.backbones.mini_archs import DINO_ARCH, vit_mini_dino
from ovperc.core.naming import suggest
from ovperc.tiling.preprocess import Preprocess
from ovperc.weights.checkpoint import Checkpoint, load_into
from ovperc.weights.entry import IMAGENET_MEAN, IMAGENET_STD
from ovperc.weights.errors import CheckpointError
from ovperc.weights.layouts import read_weights
from ovperc.weights.locate import locate_tower
from ovperc.weights.vision_layouts import eva_settings, vit_settings

_CONSTANTS = ("mean", "std", "interpolation")
_DINOV3 = {
    "img_size": 256,
    "dynamic_img_size": True,
    "init_values": 1e-5,
    "rope_type": "dinov3",
    "rope_temperature": 100,
    "rope_rotate_half": True,
    "use_rot_pos_emb": True,
    "use_abs_pos_emb": False,
    "use_fc_norm": False,
    "norm_layer": partial(LayerNorm, eps=1e-5),
    "num_classes": 0,
}
"""What timm's DINOv3 models of all sizes share."""


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
    pos_embed: str | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> VisionModel:
    """Loads a self-supervised ViT.

    Args:
        weights: a catalogue name (``"dino-vitb8"``, ``"dinov2-vitb14-reg"``), timm's ``ARCH.TAG``, an ``hf-hub:``
            name, a folder or a file in timm's, DINO's, DINOv2's, DINOv3's, MAE's or transformers' layout, or
            ``"random"`` (seeded; needs ``arch``).
        arch: timm architecture. May be left out for plain ViTs, whose sizes are read from the shapes.
        num_heads: of such a ViT; left out, heads are 64 wide as in all published ones.
        pos_embed: how the position table is resized; left out, the tower's own rule: DINO's ``scale``, or RADIO's.
        device: where the tower goes.
        dtype: of all weights; position tables are resized in float32.

    Raises:
        ValueError: unknown names, or weights that do not fit the architecture.
        FileNotFoundError: no such file; ``MissingWeightsError`` says what to get and where to put it.
    """
    name, preprocess = str(weights), {}
    if name == "random":
        if arch is None:
            raise ValueError("random weights need an arch, such as arch='vit_base_patch16_224'")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            trunk = build_trunk(arch)
    else:
        source = locate_tower(weights, "vision", arch)
        checkpoint = read_weights(source, "vision")
        arch = source.arch or checkpoint.arch
        trunk = _build_for(checkpoint, arch, num_heads, name)
        pos_embed = pos_embed or (checkpoint.config or {}).get("pos_embed")
        preprocess = {**checkpoint.preprocess, **source.preprocess}
    arch = arch or _describe(trunk)
    backbone = TimmTransformer(trunk, pos_embed or "scale").to(device=device, dtype=dtype).eval()
    return VisionModel(backbone, _preprocess(trunk, preprocess), arch, name)


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


def _build_for(checkpoint: Checkpoint, arch: str | None, num_heads: int | None, source: str) -> VisionTransformer | Eva:
    """Builds the trunk that a checkpoint belongs to and fills it."""
    state, config = checkpoint.state, checkpoint.config or {}
    heads = num_heads or config.get("num_heads")
    rotary = "pos_embed" not in state and "blocks.0.gamma_1" in state
    if arch == DINO_ARCH:
        trunk = build_trunk(arch)
    elif rotary:
        trunk = Eva(**eva_settings(state, heads), **_DINOV3).eval()
    elif arch is None or "final_norm" in config:
        trunk = _plain_vit(vit_settings(state, heads, config.get("final_norm", True)))
    else:
        trunk = build_trunk(arch)
        _check_patch(trunk, state, arch, source)
        state = timm_vit.checkpoint_filter_fn(state, trunk) if isinstance(trunk, VisionTransformer) else state
    load_into(trunk, state, arch or _describe(trunk), source)
    return trunk


def _plain_vit(settings: dict[str, Any]) -> VisionTransformer:
    if settings.pop("packed"):
        settings.update(mlp_layer=SwiGLUPacked, act_layer=nn.SiLU)
    return VisionTransformer(**settings, num_classes=0).eval()


def _check_patch(trunk: nn.Module, state: Mapping[str, Tensor], arch: str, source: str) -> None:
    """Raises CheckpointError for patches of another size, which timm would resample without a word."""
    name = "patch_embed.proj.weight"
    wanted = trunk.state_dict().get(name)
    if wanted is not None and name in state and state[name].shape != wanted.shape:
        raise CheckpointError(
            f"{source} does not fit the architecture {arch}: {name} is {tuple(state[name].shape)} in the file and "
            f"{tuple(wanted.shape)} in the model; leave arch out to read it from the shapes"
        )


def _preprocess(trunk: nn.Module, known: Mapping[str, Any]) -> Preprocess:
    """What the catalogue or the files next to the weights say; else timm's table; else ImageNet's constants."""
    listed = getattr(trunk, "pretrained_cfg", None) or {}
    size = trunk.patch_embed.img_size or listed.get("input_size", (3, 224, 224))[1:]
    known = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD, **{k: listed[k] for k in _CONSTANTS if k in listed}, **known}
    return Preprocess(tuple(known["mean"]), tuple(known["std"]), int(size[0]), known.get("interpolation", "bicubic"))


def _describe(trunk: VisionTransformer | Eva) -> str:
    return f"ViT width {trunk.embed_dim}, depth {len(trunk.blocks)}, patch {trunk.patch_embed.patch_size[0]}"
