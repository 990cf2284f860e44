"""clip-mini: a small dual encoder on the code path of MobileCLIP-B, and its compact weight file.

The image tower is a timm `VisionTransformer` behind a convolutional stem (as `vit_base_mci_224`, the tower
of MobileCLIP-B, Vasu et al., 2024), pooled by the mean of its normalised tokens. The mean of the
projected tokens is therefore exactly the image embedding.

The text tower keeps the whole vocabulary of CLIP, but only words that occurred in training have an
embedding worth storing: the file holds those rows and their token numbers (`pack_state_dict`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ovperc.weights.token_table import TOKEN_IDS, TOKEN_ROWS, TOKEN_TABLE, unpack_tokens

ARCH = "clip-mini"
DINO_ARCH = "dino-mini"
TOWER = "vit_mini_stem_112"
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


@lru_cache(maxsize=1)
def register_tower() -> None:
    """Makes the image tower known to timm as `vit_mini_stem_112`, so that open_clip can build it by name."""
    from timm.models import register_model

    register_model(vit_mini_stem_112)


def vit_mini_stem_112(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """ViT of width 128, 6 layers, 4 heads, on 8 px patches from a stem of five convolutions.

    Args:
        pretrained: must be False; weights are loaded into the whole dual encoder.
        **kwargs: overrides of `timm.models.vision_transformer.VisionTransformer`.
    """
    from timm.layers import HybridEmbed
    from timm.models.vision_transformer import VisionTransformer
    from timm.models.vision_transformer_hybrid import ConvStem

    if pretrained:
        raise ValueError("vit_mini_stem_112 has no weights of its own; load clip-mini with build_clip_mini(path)")
    for unused in ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"):
        kwargs.pop(unused, None)
    stem = ConvStem(
        depth=5,
        channels=(24, 48, 96, 96, 128),
        kernel_size=(3, 3, 3, 3, 1),
        stride=(2, 2, 2, 1, 1),
        padding=(1, 1, 1, 1, 0),
        act_layer=nn.GELU,
    )
    settings: dict[str, Any] = {
        "img_size": 112,
        "patch_size": 1,
        "embed_dim": 128,
        "depth": 6,
        "num_heads": 4,
        "class_token": False,
        "global_pool": "avg",
        "fc_norm": False,
        "num_classes": 0,
        "dynamic_img_size": True,
        "embed_layer": partial(HybridEmbed, backbone=stem, proj=False),
    }
    tower = VisionTransformer(**{**settings, **kwargs})
    tower.default_cfg = tower.pretrained_cfg = {
        "input_size": (3, 112, 112),
        "pool_size": None,
        "mean": MEAN,
        "std": STD,
    }
    return tower


def vit_mini_dino(**kwargs: Any) -> nn.Module:
    """dino-mini: ViT of width 128, 4 layers, 4 heads and a class token, on 4 px patches from four convolutions.

    It has no position table: the stem's borders and its overlap are all it knows of places, so that it runs
    at any size and likeness does not depend on where a patch lies.

    Args:
        **kwargs: overrides of `timm.models.vision_transformer.VisionTransformer`.
    """
    from timm.layers import HybridEmbed
    from timm.models.vision_transformer import VisionTransformer
    from timm.models.vision_transformer_hybrid import ConvStem

    stem = ConvStem(
        depth=4,
        channels=(32, 64, 96, 128),
        kernel_size=(3, 3, 3, 1),
        stride=(2, 2, 1, 1),
        padding=(1, 1, 1, 0),
        act_layer=nn.GELU,
    )
    settings: dict[str, Any] = {
        "img_size": 56,
        "patch_size": 1,
        "embed_dim": 128,
        "depth": 4,
        "num_heads": 4,
        "pos_embed": "none",
        "num_classes": 0,
        "dynamic_img_size": True,
        "embed_layer": partial(HybridEmbed, backbone=stem, proj=False),
    }
    return VisionTransformer(**{**settings, **kwargs})


def architecture(arch: str = ARCH) -> dict[str, Any]:
    """open_clip's configuration of a dual encoder that ships with ovperc, from ``ovperc/assets/archs``."""
    path = Path(__file__).parents[1] / "assets" / "archs" / f"{arch}.json"
    return json.loads(path.read_text(encoding="utf-8"))


def build_clip_mini(weights: str | Path | None = None, vocab_size: int | None = None) -> nn.Module:
    """Builds clip-mini as an open_clip `CustomTextCLIP`, in evaluation mode on the CPU.

    Args:
        weights: a file written by `save_packed`, or None for random weights.
        vocab_size: rows of the token table; other than the default only for training on compact ids.
    """
    from open_clip.model import CustomTextCLIP

    register_tower()
    config = architecture()
    if vocab_size is not None:
        config["text_cfg"]["vocab_size"] = vocab_size
    model = CustomTextCLIP(config["embed_dim"], config["vision_cfg"], config["text_cfg"])
    if weights is not None:
        from safetensors.torch import load_file

        model.load_state_dict(unpack_tokens(load_file(weights), config["text_cfg"]["vocab_size"]))
    return model.eval()


def pack_state_dict(
    state: Mapping[str, Tensor], token_ids: Tensor, dtype: torch.dtype = torch.float16
) -> dict[str, Tensor]:
    """The tensors to store.

    Args:
        state: a state dict whose token table holds either just the rows of ``token_ids``, in their
            order, or the rows of the whole vocabulary.
        token_ids: ``(V,)`` numbers of the tokens met in training.
        dtype: of the stored floating-point tensors; the temperature stays float32.

    Raises:
        ValueError: the table has neither size.
    """
    table = state[TOKEN_TABLE]
    if table.shape[0] != len(token_ids):
        if table.shape[0] <= int(token_ids.max()):
            raise ValueError(
                f"the token table has {table.shape[0]} rows; expected {len(token_ids)} (one per token id) "
                f"or a whole vocabulary of more than {int(token_ids.max())}"
            )
        table = table[token_ids]
    packed = {name: _stored(name, value, dtype) for name, value in state.items() if name != TOKEN_TABLE}
    packed[TOKEN_ROWS] = _stored(TOKEN_ROWS, table, dtype)
    packed[TOKEN_IDS] = token_ids.to(torch.int32).contiguous()
    return packed


def _stored(name: str, value: Tensor, dtype: torch.dtype) -> Tensor:
    value = value.detach().cpu()
    keep = name == "logit_scale" or not value.is_floating_point()
    return (value if keep else value.to(dtype)).contiguous().clone()


def save_packed(
    path: str | Path,
    state: Mapping[str, Tensor],
    token_ids: Tensor,
    seed: int,
    command: str,
    dtype: torch.dtype = torch.float16,
) -> None:
    """Writes a compact weight file, whole or not at all."""
    from safetensors.torch import save

    metadata = {
        "arch": ARCH,
        "mean": json.dumps(MEAN),
        "std": json.dumps(STD),
        "image_size": "112",
        "interpolation": "bicubic",
        "licence": "Apache-2.0",
        "seed": str(seed),
        "command": command,
    }
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(save(pack_state_dict(state, token_ids, dtype), metadata=metadata))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
