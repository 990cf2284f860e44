"""Architecture configs of open_clip: looked up by name or file, read from weights, built, and checked."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import open_clip
from open_clip.coca_model import CoCa
from open_clip.transformer import QuickGELU
from torch import Tensor, nn

from ovperc.core.naming import suggest
from ovperc.weights.reading import CheckpointError

QUICK_SUFFIX = "-quickgelu"
ModelConfig = dict[str, Any]


def arch_config(arch: str) -> ModelConfig:
    """open_clip's config of a name, or of a JSON file of the same form.

    Raises:
        ValueError: for an unknown name, with near matches, or a file that is no model config.
    """
    if arch.endswith(".json"):
        config = json.loads(Path(arch).read_text(encoding="utf-8"))
        config = config.get("model_cfg", config)
        absent = [key for key in ("embed_dim", "vision_cfg", "text_cfg") if key not in config]
        if absent:
            raise ValueError(f"{arch} is no model config: it lacks {', '.join(absent)}")
        return config
    config = open_clip.get_model_config(arch.replace("/", "-"))
    if config is None:
        raise ValueError(f"unknown arch {arch!r}; {suggest(arch, ['clip-mini', *open_clip.list_models()])}")
    return config


def with_quick_gelu(arch: str, config: ModelConfig) -> tuple[str, ModelConfig]:
    """The architecture with QuickGELU, under open_clip's name for it."""
    name = arch if arch.endswith((QUICK_SUFFIX, ".json")) else arch + QUICK_SUFFIX
    return name, {**config, "quick_gelu": True}


def build_model(config: ModelConfig) -> nn.Module:
    """An open_clip model with random weights, in eval mode; nothing is downloaded for it."""
    config = copy.deepcopy(config)
    custom_text = config.pop("custom_text", False) or "hf_model_name" in config["text_cfg"]
    if "timm_model_name" in config["vision_cfg"]:
        config["vision_cfg"]["timm_model_pretrained"] = False
    if "hf_model_name" in config["text_cfg"]:
        config["text_cfg"]["hf_model_pretrained"] = False
    if "multimodal_cfg" in config:
        return CoCa(**config).eval()
    return (open_clip.CustomTextCLIP if custom_text else open_clip.CLIP)(**config).eval()


def uses_quick_gelu(model: nn.Module) -> bool:
    """Whether any block of open_clip's own towers was built with QuickGELU."""
    return any(isinstance(module, QuickGELU) for module in model.modules())


def check_activation(model: nn.Module, quick_gelu: bool, arch: str, source: str) -> None:
    """Raises ValueError where the model's activation is not the one its weights were trained with."""
    own_blocks = any(isinstance(module, QuickGELU | nn.GELU) for name, module in model.named_modules() if "mlp" in name)
    if own_blocks and uses_quick_gelu(model) != quick_gelu:
        names = {True: "QuickGELU", False: "GELU"}
        hint = f"{arch}{QUICK_SUFFIX}" if quick_gelu else arch.removesuffix(QUICK_SUFFIX)
        raise ValueError(
            f"{source} was trained with {names[quick_gelu]}, the architecture {arch} is built with "
            f"{names[not quick_gelu]}; use arch={hint!r}"
        )


def infer_arch(state: Mapping[str, Tensor]) -> str:
    """Name of the open_clip config whose sizes are those of the weights; the plain GELU one of a pair.

    Args:
        state: weights in OpenCLIP's layout.

    Raises:
        CheckpointError: the weights are no CLIP, or of sizes that no config has.
    """
    wanted = _sizes_of_state(state)
    matches = [name for name in open_clip.list_models() if _sizes_of_config(arch_config(name)) == wanted]
    plain = [name for name in matches if not name.endswith(QUICK_SUFFIX)] or matches
    if not plain:
        raise CheckpointError(
            f"no architecture of open_clip has the sizes of these weights ({_describe(wanted)}); pass arch, a name or "
            "a JSON config"
        )
    return min(plain, key=lambda name: (len(name), name))


def _describe(sizes: tuple) -> str:
    return ", ".join(f"{name} {value}" for name, value in zip(_SIZE_NAMES, sizes, strict=True))


_SIZE_NAMES = ("tower", "width", "layers", "patch", "grid", "embed", "text width", "text layers", "context", "words")


def _sizes_of_state(state: Mapping[str, Tensor]) -> tuple:
    """Sizes that tell architectures apart; presence of ``visual.proj`` means ViT."""
    text = "text." if "text.token_embedding.weight" in state else ""
    try:
        words, text_width = state[f"{text}token_embedding.weight"].shape
        context = state[f"{text}positional_embedding"].shape[0]
        embed = state[f"{text}text_projection"].shape[-1]
        text_layers = _count_layers(state, f"{text}transformer.resblocks.")
        if "visual.proj" in state:
            width, _, patch, _ = state["visual.conv1.weight"].shape
            side = math.isqrt(state["visual.positional_embedding"].shape[0] - 1)
            vision = ("ViT", width, _count_layers(state, "visual.transformer.resblocks."), patch, side)
        else:
            side = math.isqrt(state["visual.attnpool.positional_embedding"].shape[0] - 1)
            layers = tuple(_count_layers(state, f"visual.layer{stage}.") for stage in (1, 2, 3, 4))
            vision = ("ResNet", state["visual.layer1.0.conv1.weight"].shape[0], layers, 32, side)
    except KeyError as error:
        raise CheckpointError(
            f"these weights are not CLIP's ViT or ResNet in a known layout: there is no {error.args[0]}. For other "
            f"towers pass arch; the file begins with {next(iter(state))}"
        ) from error
    return (*vision, embed, text_width, text_layers, context, words)


def _count_layers(state: Mapping[str, Tensor], prefix: str) -> int:
    return len({name[len(prefix) :].split(".")[0] for name in state if name.startswith(prefix)})


def _sizes_of_config(config: ModelConfig) -> tuple | None:
    vision, text = config["vision_cfg"], config["text_cfg"]
    if "timm_model_name" in vision or "hf_model_name" in text or "multimodal_cfg" in config:
        return None
    tail = (config["embed_dim"], text["width"], text["layers"], text["context_length"], text["vocab_size"])
    image = vision["image_size"]
    if isinstance(vision["layers"], list):
        return ("ResNet", vision["width"], tuple(vision["layers"]), 32, image // 32, *tail)
    return ("ViT", vision["width"], vision["layers"], vision["patch_size"], image // vision["patch_size"], *tail)
