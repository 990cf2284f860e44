"""Tiny towers with random weights, of the very classes that open_clip and timm use for the large ones.

Native grids are small (6 x 6 patches of 8 px, ResNet and ConvNeXt 3 x 3 of 32 px), prefix tokens
where its family has them, and weights scrambled so that no branch (layer scale, biases, running statistics)
is a silent no-op. The same seed gives the same weights whatever ran before.
"""

from __future__ import annotations

from functools import partial

import open_clip
import torch
from open_clip.timm_model import TimmModel
from timm.layers import HybridEmbed
from timm.models.convnext import ConvNeXt
from timm.models.eva import Eva
from timm.models.fastvit import FastVit
from timm.models.vision_transformer import VisionTransformer
from timm.models.vision_transformer_hybrid import ConvStem
from torch import nn

EMBED_DIM = 24
WIDTH = 32
IMAGE_PX = 48
CONV_IMAGE_PX = 96
TEXT_CFG = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
_VIT_CFG = {"image_size": IMAGE_PX, "patch_size": 8, "width": WIDTH, "layers": 3, "head_width": 16}
_TIMM_VIT = {"img_size": IMAGE_PX, "patch_size": 8, "embed_dim": WIDTH, "depth": 3, "num_heads": 2}


class TinyTimm(TimmModel):
    """open_clip's adapter around a timm trunk that is given, not looked up by name."""

    def __init__(self, trunk: nn.Module, head: nn.Module, image_px: int) -> None:
        nn.Module.__init__(self)
        self.image_size = (image_px, image_px)
        self.trunk = trunk
        self.head = head


def _linear_head(width: int = WIDTH) -> nn.Sequential:
    return nn.Sequential(nn.Dropout(0.0), nn.Linear(width, EMBED_DIM, bias=False))


def _timm_visual(kind: str) -> TinyTimm:
    if kind == "siglip":
        trunk = VisionTransformer(**_TIMM_VIT, num_classes=0, class_token=False, global_pool="map")
        trunk.num_features, head = WIDTH, _linear_head()
    elif kind == "timm-token":
        trunk = VisionTransformer(
            **_TIMM_VIT, num_classes=EMBED_DIM, pre_norm=True, qk_norm=True, init_values=0.1, reg_tokens=2
        )
        head = nn.Sequential()
    elif kind == "timm-stem":
        stem = ConvStem(channels=(16, 16, WIDTH), stride=(2, 2, 2), kernel_size=(3, 3, 3), act_layer=nn.GELU)
        trunk = VisionTransformer(
            **{key: value for key, value in _TIMM_VIT.items() if key != "patch_size"},
            patch_size=1,
            num_classes=0,
            no_embed_class=True,
            global_pool="avg",
            fc_norm=False,
            embed_layer=partial(HybridEmbed, backbone=stem, proj=False),
        )
        head = _linear_head()
    elif kind == "eva":
        trunk = Eva(
            **_TIMM_VIT,
            num_classes=EMBED_DIM,
            global_pool="token",
            qkv_fused=False,
            swiglu_mlp=True,
            scale_mlp=True,
            scale_attn_inner=True,
            use_rot_pos_emb=True,
            ref_feat_shape=(6, 6),
            mlp_ratio=2.0,
        )
        head = nn.Sequential()
    elif kind == "convnext":
        trunk = ConvNeXt(depths=(1, 1, 1, 1), dims=(8, 12, 16, WIDTH), num_classes=0)
        return TinyTimm(trunk, _linear_head(), CONV_IMAGE_PX)
    elif kind == "fastvit":
        trunk = FastVit(layers=(1, 1, 1, 1), embed_dims=(8, 16, 32, 64), mlp_ratios=(2, 2, 2, 2), num_classes=EMBED_DIM)
        return TinyTimm(trunk, nn.Sequential(), CONV_IMAGE_PX)
    else:
        raise ValueError(f"no tiny timm tower {kind!r}")
    return TinyTimm(trunk, head, IMAGE_PX)


KINDS = (
    "vit",
    "vit-avg",
    "vit-coca",
    "resnet",
    "siglip",
    "timm-token",
    "timm-stem",
    "eva",
    "convnext",
    "fastvit",
)
TOKEN_KINDS = ("vit", "vit-avg", "siglip", "timm-token", "timm-stem", "eva")
CONV_KINDS = ("convnext", "fastvit")


def tiny_open_clip(kind: str = "vit", seed: int = 0, *, quick_gelu: bool = False) -> nn.Module:
    """A tiny open_clip model (``CLIP`` or ``CustomTextCLIP``) in eval mode.

    Args:
        kind: one of ``KINDS``.
        seed: seed of the weights.
        quick_gelu: activation of open_clip's own blocks, as OpenAI's weights ask.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        build = partial(open_clip.CLIP, EMBED_DIM, text_cfg=TEXT_CFG, quick_gelu=quick_gelu)
        if kind == "vit":
            model = build(vision_cfg=_VIT_CFG)
        elif kind == "vit-avg":
            extra = {"pool_type": "avg", "final_ln_after_pool": True, "no_ln_pre": True, "ls_init_value": 0.1}
            model = build(vision_cfg={**_VIT_CFG, **extra})
        elif kind == "vit-coca":
            extra = {"attentional_pool": True, "attn_pooler_heads": 2, "attn_pooler_queries": 5}
            model = build(vision_cfg={**_VIT_CFG, **extra})
        elif kind == "resnet":
            model = build(
                vision_cfg={"image_size": CONV_IMAGE_PX, "layers": [1, 1, 1, 1], "width": 8, "head_width": 64}
            )
        elif kind in KINDS:
            text = {
                **TEXT_CFG,
                "no_causal_mask": kind == "siglip",
                "pool_type": "last" if kind == "siglip" else "argmax",
            }
            model = open_clip.CustomTextCLIP(EMBED_DIM, vision_cfg=_VIT_CFG, text_cfg=text)
            model.visual = _timm_visual(kind)
        else:
            raise ValueError(f"no tiny model {kind!r}; there are {', '.join(KINDS)}")
        scramble(model)
    return model.eval()


@torch.no_grad()
def scramble(model: nn.Module) -> None:
    """Draws every weight and running statistic anew, at scales that keep activations of order one."""
    for name, value in model.named_parameters():
        leaf = name.rsplit(".", 1)[-1]
        if value.ndim >= 2 and leaf not in ("pos_embed", "positional_embedding", "cls_token", "reg_token", "latent"):
            fan_in = value[0].numel() if leaf not in ("proj", "text_projection") else value.shape[0]
            value.normal_(std=fan_in**-0.5)
        elif leaf == "bias" or value.ndim >= 2 or leaf in ("class_embedding", "q_bias", "v_bias"):
            value.normal_(std=0.3)
        elif leaf not in ("logit_scale", "logit_bias"):
            value.normal_(mean=1.0, std=0.2)
    for name, value in model.named_buffers():
        if name.endswith("running_mean"):
            value.normal_(std=0.2)
        elif name.endswith("running_var"):
            value.uniform_(0.5, 1.5)


def tiny_clip(kind: str = "vit", seed: int = 0, *, pos_embed: str = "size"):
    """The tiny model wrapped as ovperc's ``ClipModel``, as ``load_clip`` would return it."""
    from ovperc.backbones.loading import wrap_open_clip

    return wrap_open_clip(tiny_open_clip(kind, seed), arch=f"tiny-{kind}", source="random", pos_embed=pos_embed)


def native_px(kind: str) -> int:
    """Side of the image that the tiny tower was made for."""
    return CONV_IMAGE_PX if kind in (*CONV_KINDS, "resnet") else IMAGE_PX


@torch.no_grad()
def jitter(model: nn.Module, seed: int = 0, scale: float = 0.2) -> nn.Module:
    """Adds noise to every parameter of a library's model, so that no bias, norm or scale is a silent no-op."""
    generator = torch.Generator().manual_seed(seed)
    for value in model.parameters():
        value.add_(torch.randn(value.shape, generator=generator) * scale)
    return model
