"""Architecture configs of open_clip: looked up by name or file, read from weights, built, and checked."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.coca_model import CoCa
from open_clip.timm_model import TimmModel
from open_clip.transformer import QuickGELU
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from ovperc.core.naming import suggest
from ovperc.weights.checkpoint import State, count_layers
from ovperc.weights.errors import CheckpointError

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
    sizes = config["vision_cfg"].pop("timm_settings", None)
    if "timm_model_name" in config["vision_cfg"]:
        config["vision_cfg"]["timm_model_pretrained"] = False
    if "hf_model_name" in config["text_cfg"]:
        config["text_cfg"]["hf_model_pretrained"] = False
    if "multimodal_cfg" in config:
        return CoCa(**config).eval()
    if sizes is not None:
        config["vision_cfg"] = dict(_STAND_IN)
    model = (open_clip.CustomTextCLIP if custom_text else open_clip.CLIP)(**config)
    if sizes is not None:
        model.visual = SizedTimmTower(sizes)
    return model.eval()


_STAND_IN = {"image_size": 8, "layers": 1, "width": 8, "head_width": 8, "patch_size": 8}


class SizedTimmTower(TimmModel):
    """open_clip's adapter around a timm ViT of any size, pooled by the trunk itself and not projected.

    Args:
        sizes: keywords of timm's ``VisionTransformer``.
    """

    def __init__(self, sizes: Mapping[str, Any]) -> None:
        nn.Module.__init__(self)
        self.image_size = (sizes["img_size"], sizes["img_size"])
        self.trunk = VisionTransformer(**sizes, num_classes=0)
        self.head = nn.Sequential()


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


def infer_arch(state: State) -> str:
    """Name of the open_clip config whose sizes are those of the weights; the plain GELU one of a pair.

    Args:
        state: weights in open_clip's names.

    Raises:
        CheckpointError: the weights are no dual encoder, or of sizes that no config has.
    """
    if _text_sizes(state) is None:
        raise CheckpointError(
            "these weights are not a dual encoder in a known layout: there is no token_embedding.weight. For other "
            f"towers pass arch; the file begins with {next(iter(state), 'nothing')}"
        )
    name = find_arch(state)
    if name is None:
        raise CheckpointError(
            f"no architecture of open_clip has the sizes of these weights ({describe_sizes(state)}); pass arch, a name "
            "or a JSON config, or put the model's config.json next to the file"
        )
    return name


def find_arch(state: State) -> str | None:
    """As :func:`infer_arch`, but None where no config has these sizes."""
    words = _text_sizes(state)
    if words is None:
        return None
    configs = {name: arch_config(name) for name in open_clip.list_models()}
    candidates = {name: config for name, config in configs.items() if _text_sizes_of_config(config) == words}
    own = _vision_sizes(state)
    if own is not None:
        matches = [name for name, config in candidates.items() if _vision_sizes_of_config(config) == own]
    else:
        matches = [name for name, config in candidates.items() if _fits_timm_tower(config, state)]
    plain = [name for name in matches if not name.endswith(QUICK_SUFFIX)] or matches
    return min(plain, key=lambda name: (len(name), name), default=None)


def describe_sizes(state: State) -> str:
    """Sizes of a dual encoder in words."""
    vision = zip(_VISION_NAMES, _vision_sizes(state) or ("of timm",), strict=False)
    text = zip(_TEXT_NAMES, _text_sizes(state) or (), strict=False)
    return ", ".join(f"{name} {value}" for name, value in (*vision, *text))


_VISION_NAMES = ("tower", "width", "layers", "patch", "grid")
_TEXT_NAMES = ("embed", "text width", "text layers", "context", "words")


def _text_sizes(state: State) -> tuple[int, ...] | None:
    """Joint width, text width, layers, context and words; None where there is no text tower of open_clip's form."""
    text = "text." if "text.token_embedding.weight" in state else ""
    table, positions = state.get(f"{text}token_embedding.weight"), state.get(f"{text}positional_embedding")
    if table is None or positions is None:
        return None
    projection = state.get(f"{text}text_projection", state.get(f"{text}text_projection.weight"))
    words, width = table.shape
    embed = width if projection is None else projection.shape[-1]
    return embed, width, count_layers(state, f"{text}transformer.resblocks."), positions.shape[0], words


def _vision_sizes(state: State) -> tuple[Any, ...] | None:
    """Sizes of open_clip's own towers; None for timm's."""
    if "visual.proj" in state:
        width, _, patch, _ = state["visual.conv1.weight"].shape
        side = math.isqrt(state["visual.positional_embedding"].shape[0] - 1)
        return "ViT", width, count_layers(state, "visual.transformer.resblocks."), patch, side
    if "visual.attnpool.positional_embedding" in state:
        side = math.isqrt(state["visual.attnpool.positional_embedding"].shape[0] - 1)
        layers = tuple(count_layers(state, f"visual.layer{stage}.") for stage in (1, 2, 3, 4))
        return "ResNet", state["visual.layer1.0.conv1.weight"].shape[0], layers, 32, side
    return None


def _text_sizes_of_config(config: ModelConfig) -> tuple[int, ...] | None:
    text = config["text_cfg"]
    if "hf_model_name" in text or "multimodal_cfg" in config:
        return None
    return config["embed_dim"], text["width"], text["layers"], text.get("context_length", 77), text["vocab_size"]


def _vision_sizes_of_config(config: ModelConfig) -> tuple[Any, ...] | None:
    vision = config["vision_cfg"]
    if "timm_model_name" in vision:
        return None
    image = vision["image_size"]
    if isinstance(vision["layers"], list):
        return "ResNet", vision["width"], tuple(vision["layers"]), 32, image // 32
    return "ViT", vision["width"], vision["layers"], vision["patch_size"], image // vision["patch_size"]


def _fits_timm_tower(config: ModelConfig, state: State) -> bool:
    """Whether the image tower of a config has the names and shapes of the table; nothing is allocated for it."""
    trunk = config["vision_cfg"].get("timm_model_name", "")
    if trunk.startswith(_TIMM_VITS) != ("visual.trunk.blocks.0.norm1.weight" in state) or not trunk:
        return False
    with torch.device("meta"):
        tower = build_model(config).get_submodule("visual").state_dict()
    wanted = {f"visual.{name}": value.shape for name, value in tower.items() if not name.endswith(_COUNTERS)}
    return all(name in state and state[name].shape == shape for name, shape in wanted.items())


_COUNTERS = "num_batches_tracked"
_TIMM_VITS = ("vit_", "eva")
"""How timm's names of plain transformers begin: the others are not built to be compared with one."""
