"""A timm EfficientNet-Lite0 whose three strides are fused into one map: photo-mini's image trunk."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from timm.models.efficientnet import tf_efficientnet_lite0
from torch import Tensor, nn
from torch.nn import functional as F

MEAN = (127 / 255, 127 / 255, 127 / 255)
STD = (128 / 255, 128 / 255, 128 / 255)
_STRIDES = (8, 16, 32)


@lru_cache(maxsize=1)
def register_trunk() -> None:
    """Makes the trunk known to timm as ``efficientnet_lite0_pyramid``, so that open_clip can build it by name."""
    from timm.models import register_model

    register_model(efficientnet_lite0_pyramid)


def efficientnet_lite0_pyramid(pretrained: bool = False, **kwargs: Any) -> PyramidTrunk:
    """timm's entry point of :class:`PyramidTrunk`.

    Args:
        pretrained: must be False; weights are loaded into the dual encoder.
        **kwargs: of :class:`PyramidTrunk`; what timm adds of its own is ignored.
    """
    if pretrained:
        raise ValueError("efficientnet_lite0_pyramid has no weights of its own; load photo-mini")
    return PyramidTrunk(**{name: value for name, value in kwargs.items() if name in ("width", "drop_rate")})


class PyramidTrunk(nn.Module):
    """Strides 8, 16 and 32 of EfficientNet-Lite0, each projected, summed at stride 8 and mixed once.

    The stride-32 level is the input of the ImageNet classifier (1280 channels). The image embedding is the mean of the
    positions at unit length. It has the attributes that open_clip's ``TimmModel`` reads of a timm model.

    Args:
        width: channels of the fused map.
        drop_rate: share of input channels of the projections that are dropped in training.
    """

    def __init__(self, width: int = 256, drop_rate: float = 0.0) -> None:
        super().__init__()
        self.body = tf_efficientnet_lite0(pretrained=False, num_classes=0)
        stages = self.body.feature_info[-3:]
        channels = (*(stage["num_chs"] for stage in stages[:2]), self.body.num_features)
        self.laterals = nn.ModuleList(nn.Conv2d(size, width, 1) for size in channels)
        self.drop = nn.Dropout2d(drop_rate)
        self.mix = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, groups=width), nn.GELU(), nn.Conv2d(width, width, 1)
        )
        self.num_features = width
        self.feature_info = [
            *({"num_chs": size, "reduction": stride} for size, stride in zip(channels, _STRIDES, strict=True)),
            {"num_chs": width, "reduction": _STRIDES[0]},
        ]
        self.default_cfg = self.pretrained_cfg = {
            "input_size": (3, 448, 448),
            "pool_size": (56, 56),
            "mean": MEAN,
            "std": STD,
        }

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Does nothing: there is no classifier, and the pool is part of the tower."""

    def levels(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``(B, 3, H, W)`` -> maps of strides 8, 16 and 32; sides are filled up with zeros to multiples of 32."""
        height, width = images.shape[-2:]
        last = _STRIDES[-1]
        images = F.pad(images, (0, -width % last, 0, -height % last))
        fine, middle, coarse = self.body.forward_intermediates(images, indices=[2, 3, 4], intermediates_only=True)
        return fine, middle, self.body.bn2(self.body.conv_head(coarse))

    def fuse(self, levels: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """The maps of :meth:`levels` -> ``(B, width, h, w)`` at stride 8."""
        projected = [lateral(self.drop(level)) for lateral, level in zip(self.laterals, levels, strict=True)]
        fused = projected[0]
        for level in projected[1:]:
            fused = fused + F.interpolate(level, fused.shape[-2:], mode="bilinear", align_corners=False)
        return fused + self.mix(fused)

    def forward_features(self, images: Tensor) -> Tensor:
        """``(B, 3, H, W)`` -> ``(B, width, H / 8, W / 8)``; sides must be multiples of 8."""
        grid_hw = [side // _STRIDES[0] for side in images.shape[-2:]]
        return self.fuse(self.levels(images))[..., : grid_hw[0], : grid_hw[1]]

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """``(B, width, h, w) -> (B, width)``: the mean of the positions at unit length."""
        return F.normalize(features, dim=1).mean(dim=(2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """The image embedding, ``(B, 3, H, W) -> (B, width)``."""
        return self.forward_head(self.forward_features(images))
