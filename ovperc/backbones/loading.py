"""One call from names or files to a dual encoder with dense image features."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from open_clip.tokenizer import HFTokenizer, SimpleTokenizer
from open_clip.transformer import VisionTransformer
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer as TimmVisionTransformer
from torch import Tensor, nn

from ovperc.backbones import mini_archs, photo_mini
from ovperc.backbones.base import DenseBackbone
from ovperc.backbones.clip_convnext import ClipConvNet
from ovperc.backbones.clip_pyramid import ClipPyramid
from ovperc.backbones.clip_resnet import ClipResNet
from ovperc.backbones.clip_timm import TimmTransformer
from ovperc.backbones.clip_vit import ClipViT
from ovperc.backbones.pos_embed import check_mode
from ovperc.backbones.pyramid_trunk import PyramidTrunk
from ovperc.backbones.text_tower import TextTower, Tokenizer, tokenizer_name
from ovperc.tiling.preprocess import Preprocess
from ovperc.weights.architectures import (
    QUICK_SUFFIX,
    ModelConfig,
    arch_config,
    build_model,
    check_activation,
    describe_sizes,
    find_arch,
    infer_arch,
    with_quick_gelu,
)
from ovperc.weights.checkpoint import Checkpoint, load_into
from ovperc.weights.clip_layouts import OWN_TOKENIZER
from ovperc.weights.errors import READ_ERRORS, CheckpointError, MissingWeightsError
from ovperc.weights.hub import TOKENIZER_FILES, fetch_side_files, find_side_folder
from ovperc.weights.layouts import read_weights
from ovperc.weights.locate import WeightsSource, locate
from ovperc.weights.reading import read_checkpoint
from ovperc.weights.token_table import TOKEN_ROWS, unpack_tokens


@dataclass(frozen=True)
class ClipModel:
    """A dual encoder.

    Attributes:
        backbone: the image tower.
        text: the text tower.
        preprocess: what the weights ask of an image.
        fingerprint: of the text weights and the tokenizer, whatever the dtype; text banks carry it.
        arch: architecture name.
        source: where the weights came from, in words.
        log_scale: logarithm of the inverse temperature that the weights were trained to.
        logit_bias: added to ``exp(log_scale) * cosine`` before the sigmoid, in models trained pair by pair (SigLIP);
            None in models trained with a softmax.
    """

    backbone: DenseBackbone
    text: TextTower
    preprocess: Preprocess
    fingerprint: str
    arch: str
    source: str
    log_scale: float = math.log(100.0)
    logit_bias: float | None = None


def load_clip(
    arch: str | None = None,
    weights: str | Path | None = None,
    *,
    pos_embed: str = "size",
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> ClipModel:
    """Loads a dual encoder, offline first and without running anything that a file brings along.

    Args:
        arch: open_clip architecture, ``hf-hub:OWNER/NAME``, a JSON model config, or ``"clip-mini"``. May be left
            out where the weights tell: names of the catalogue, and CLIP ViT or ResNet files (by their shapes).
        weights: name of the catalogue (``"ViT-B-16/openai"``), a tag of ``arch`` (``"openai"``), ``hf-hub:`` name,
            a file (OpenAI archive, OpenCLIP ``.pt`` or ``.safetensors``, Hugging Face ``CLIPModel``), a folder with
            such a file, or ``"random"``: seeded weights for benchmarks and tests. Both left out: clip-mini.
        pos_embed: how position tables are resized, see :func:`ovperc.backbones.pos_embed.resize_pos_embed`.
        device: where the towers go.
        dtype: of all weights; norms and softmax stay in float32 inside.

    Raises:
        ValueError: unknown names, or weights that do not fit the architecture or its activation.
        FileNotFoundError: no such file; ``MissingWeightsError`` says what to get, where from and where to put it.
    """
    check_mode(pos_embed)
    source = locate(arch, weights)
    if source.arch in _SHIPPED:
        arch, model, config = source.arch, _load_shipped(source), mini_archs.architecture(source.arch)
    elif source.path is None:
        arch, config = str(source.arch), arch_config(str(source.arch))
        model = _build_random(lambda: build_model(config))
    else:
        arch, model, config, preprocess = _load_file(source)
        source = replace(source, preprocess=preprocess)
    return wrap_open_clip(
        model,
        arch=arch,
        source=source.label,
        pos_embed=pos_embed,
        tokenizer=_tokenizer(arch, config, source),
        preprocess=_preprocess(model, arch, source),
        device=device,
        dtype=dtype,
    )


def wrap_open_clip(
    model: nn.Module,
    *,
    arch: str,
    source: str,
    pos_embed: str = "size",
    tokenizer: Tokenizer | None = None,
    preprocess: Preprocess | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> ClipModel:
    """Puts an open_clip model that is already built behind the contracts.

    Args:
        model: ``CLIP``, ``CustomTextCLIP`` or ``CoCa``; its modules are shared, not copied.
        tokenizer: left out, CLIP's.
        preprocess: left out, CLIP's constants at the model's image size.
    """
    model = model.eval()
    tokenizer = tokenizer or SimpleTokenizer(context_length=getattr(model, "context_length", 77))
    text = TextTower(model, tokenizer)
    fingerprint = text_fingerprint(text)
    model.to(device=device, dtype=dtype)
    return ClipModel(
        backbone=build_backbone(model.visual, pos_embed).eval(),
        text=text.to(device=device, dtype=dtype).eval(),
        preprocess=preprocess or _preprocess(model, arch, WeightsSource(source)),
        fingerprint=fingerprint,
        arch=arch,
        source=source,
        log_scale=float(model.logit_scale.detach()) if hasattr(model, "logit_scale") else math.log(100.0),
        logit_bias=None if getattr(model, "logit_bias", None) is None else float(model.logit_bias.detach()),
    )


def build_backbone(visual: nn.Module, pos_embed: str = "size") -> DenseBackbone:
    """The dense tower that fits an open_clip vision tower, or a bare timm ViT or Eva.

    Raises:
        ValueError: for a tower that has no dense form here.
    """
    if isinstance(visual, VisionTransformer):
        return ClipViT(visual, pos_embed)
    if isinstance(visual, ModifiedResNet):
        return ClipResNet(visual, pos_embed)
    trunk = visual.trunk if isinstance(visual, TimmModel) else visual
    if isinstance(trunk, TimmVisionTransformer | Eva):
        return TimmTransformer(visual, pos_embed)
    if isinstance(trunk, PyramidTrunk):
        return ClipPyramid(visual)
    if isinstance(visual, TimmModel):
        return ClipConvNet(visual)
    raise ValueError(f"image tower {type(visual).__name__} is not supported")


def text_fingerprint(text: TextTower) -> str:
    """BLAKE2b over the text tower's tensors and its tokenizer's name, 32 hex digits."""
    digest = hashlib.blake2b(tokenizer_name(text.tokenizer).encode(), digest_size=16)
    for name, value in sorted(text.tower.state_dict().items()):
        digest.update(f"{name}{tuple(value.shape)}".encode())
        digest.update(_bytes_of(value))
    return digest.hexdigest()


def _bytes_of(value: Tensor) -> memoryview:
    return memoryview(value.detach().float().cpu().contiguous().numpy()).cast("B")


def _build_random(build: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build()


_SHIPPED = {mini_archs.ARCH: mini_archs.build_clip_mini, photo_mini.ARCH: photo_mini.build_photo_mini}
"""Builders of the dual encoders whose architecture and weights come with ovperc."""


def _load_shipped(source: WeightsSource) -> nn.Module:
    """A shipped dual encoder from its packed file, or from a plain table of the same model."""
    model = _build_random(_SHIPPED[source.arch])
    if source.path is None:
        return model
    state = read_checkpoint(source.path)
    if TOKEN_ROWS in state:
        state = unpack_tokens(state, model.vocab_size)
    load_into(model, state, source.arch, source.label)
    return model


def _load_file(source: WeightsSource) -> tuple[str, nn.Module, ModelConfig, dict[str, Any]]:
    """Reads a checkpoint, settles architecture and activation, builds and fills the model."""
    checkpoint = read_weights(source, "clip")
    quick_gelu = source.quick_gelu if checkpoint.quick_gelu is None else checkpoint.quick_gelu
    arch, config = _architecture(source, checkpoint, quick_gelu)
    if quick_gelu and not config.get("quick_gelu", False):
        arch, config = with_quick_gelu(arch, config)
    model = _build(_with_local_text_model(config), source.label)
    if quick_gelu is not None:
        check_activation(model, quick_gelu, arch, source.label)
    state = open_clip.factory.convert_state_dict(model, checkpoint.state)
    load_into(model, state, arch, source.label)
    return arch, model, config, {**checkpoint.preprocess, **source.preprocess}


def _build(config: ModelConfig, label: str) -> nn.Module:
    """The model of a config that came with the weights, which may be nonsense."""
    try:
        return build_model(config)
    except READ_ERRORS as error:
        raise CheckpointError(
            f"no model can be built of the sizes that {label} and its config give: {error}"
        ) from error


def _architecture(source: WeightsSource, checkpoint: Checkpoint, quick_gelu: bool | None) -> tuple[str, ModelConfig]:
    """The user's architecture, or the one that the files tell; an activation that nothing tells is refused."""
    if source.arch is not None:
        return source.arch, arch_config(source.arch)
    if checkpoint.config is not None:
        return find_arch(checkpoint.state) or describe_sizes(checkpoint.state), checkpoint.config
    name = infer_arch(checkpoint.state)
    if quick_gelu is None and "visual.transformer.resblocks.0.ln_1.weight" in checkpoint.state:
        raise CheckpointError(
            f"{source.label} does not tell its activation. Pass arch={name!r} for weights trained with GELU (LAION, "
            f"DataComp and most models trained from scratch with OpenCLIP), or arch={name + QUICK_SUFFIX!r} for "
            "QuickGELU (OpenAI, MetaCLIP, DFN, and models fine-tuned from them); or put the model's config.json or "
            "open_clip_config.json next to the file"
        )
    return name, arch_config(name)


def _with_local_text_model(config: ModelConfig) -> ModelConfig:
    """The config with a text tower of transformers named by the folder of its own ``config.json``."""
    name = config["text_cfg"].get("hf_model_name")
    if name is None or Path(name).is_dir():
        return config
    folder = find_side_folder(name, ("config.json",)) or fetch_side_files(name, ("config.json",))
    return {**config, "text_cfg": {**config["text_cfg"], "hf_model_name": str(folder)}}


def _tokenizer(arch: str, config: ModelConfig, source: WeightsSource) -> Tokenizer:
    text = config["text_cfg"]
    length = text.get("context_length", 77)
    settings = text.get("tokenizer_kwargs") or {}
    name = text.get("hf_tokenizer_name")
    if not name:
        return SimpleTokenizer(context_length=length, **settings)
    folder = _tokenizer_folder(name, source)
    try:
        return HFTokenizer(str(folder), length, tokenizer_mode=text.get("tokenizer_mode"), **settings)
    except (OSError, ValueError, ImportError) as error:
        raise MissingWeightsError(
            f"the tokenizer of {arch} in {folder} could not be read ({error}); get its files from "
            f"https://huggingface.co/{name} and put them next to the weights (needs: pip install ovperc[siglip])"
        ) from error


def _tokenizer_folder(name: str, source: WeightsSource) -> Path:
    """Where the tokenizer's files lie: next to the weights, in a cache, or fetched."""
    if source.path is not None and any((source.path.parent / file).is_file() for file in TOKENIZER_FILES):
        return source.path.parent
    if name == OWN_TOKENIZER:
        raise MissingWeightsError(
            f"{source.label} has a vocabulary of its own; put its tokenizer's files ({', '.join(TOKENIZER_FILES[:3])}, "
            "...) next to the weights"
        )
    return find_side_folder(name) or fetch_side_files(name, TOKENIZER_FILES)


def _preprocess(model: nn.Module, arch: str, source: WeightsSource) -> Preprocess:
    """What the weights' own config says; else what all published weights of the arch agree on; else CLIP's."""
    known: dict[str, Any] = dict(_agreed_preprocess(arch))
    known.update(source.preprocess)
    size = model.visual.image_size
    return Preprocess(
        mean=tuple(known.get("mean", OPENAI_DATASET_MEAN)),
        std=tuple(known.get("std", OPENAI_DATASET_STD)),
        image_size_px=int(size[0] if isinstance(size, tuple | list) else size),
        interpolation=known.get("interpolation", "bicubic"),
        resize_mode=known.get("resize_mode", "shortest"),
    )


def _agreed_preprocess(arch: str) -> dict[str, Any]:
    rows = [open_clip.get_pretrained_cfg(arch, tag) for tag in open_clip.list_pretrained_tags_by_model(arch)]
    keys = ("mean", "std", "interpolation", "resize_mode")
    return {
        key: rows[0][key] for key in keys if rows and key in rows[0] and len({str(row.get(key)) for row in rows}) == 1
    }
