"""Feature pyramids: a frozen CLIP tower read at several depths, a ResNet, and the neck that joins their levels."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import FeaturePyramidNetwork

from ovperc.affinity.base import Identity
from ovperc.backbones.base import DenseBackbone
from ovperc.core.structures import Tap
from ovperc.readout.block import BlockReadout

_GROUPS = 8
_SCALES = (4.0, 2.0, 1.0, 0.5)


@dataclass(frozen=True)
class TowerMaps:
    """What a detector reads of a batch.

    Attributes:
        levels: maps ``(B, D_i, h, w)`` for the neck.
        dense: ``(B, E, h, w)`` float32, unit patch embeddings in the joint space; None for towers without text.
    """

    levels: tuple[Tensor, ...]
    dense: Tensor | None = None


class FrozenClipBackbone:
    """A CLIP tower as the backbone of a detector: taps and dense map from one pass, no gradients, nothing trained.

    F-ViT's last tap is the value-path output of the last block (Wu et al., ICLR 2024, section 3.2), which the dense
    map is projected from, so that the last block's attention is never computed.

    Args:
        backbone: the tower; it stays in evaluation mode.
        layers: blocks whose outputs are read, by rising number, ``-1`` for the value-path output of the last.
    """

    def __init__(self, backbone: DenseBackbone, layers: Sequence[int]) -> None:
        self.backbone = backbone.eval().requires_grad_(False)
        self.layers = tuple(layer % backbone.depth for layer in layers)
        if list(self.layers) != sorted(set(self.layers)):
            raise ValueError(f"layers must rise and differ; got {tuple(layers)} in a tower of {backbone.depth} blocks")
        self.readout = BlockReadout(Identity())

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of each level."""
        return (self.backbone.width,) * len(self.layers)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> TowerMaps:
        """Maps of normalised images ``(B, 3, H, W)``."""
        backbone, last = self.backbone, self.backbone.depth - 1
        early = [Tap(layer, "out") for layer in self.layers if layer < last]
        features = backbone.forward_dense(images, [*early, *self.readout.taps(backbone)])
        value_path = self.readout.tokens(backbone, features, None)
        tokens = [features.patches(tap) for tap in early] + ([value_path] if last in self.layers else [])
        dense = F.normalize(backbone.project(value_path).float(), dim=-1)
        maps = [part.float().transpose(1, 2).unflatten(2, features.grid_hw).clone() for part in (*tokens, dense)]
        return TowerMaps(tuple(maps[:-1]), maps[-1])


class ResNetBackbone(nn.Module):
    """torchvision's ResNet, trained with the detector (ViLD); maps at strides 4, 8, 16 and 32.

    Args:
        arch: ``resnet18``, ``resnet50`` and so on; random weights.
    """

    strides = (4.0, 8.0, 16.0, 32.0)

    def __init__(self, arch: str = "resnet50") -> None:
        super().__init__()
        from torchvision.models import get_model

        self.arch = arch
        self.body = get_model(arch, weights=None)
        del self.body.fc
        blocks = [getattr(self.body, f"layer{stage}")[-1] for stage in (1, 2, 3, 4)]
        self.channels = tuple(
            (block.conv3 if hasattr(block, "conv3") else block.conv2).out_channels for block in blocks
        )

    def forward(self, images: Tensor) -> TowerMaps:
        """Maps of normalised images ``(B, 3, H, W)``."""
        body, levels = self.body, []
        features = body.maxpool(body.relu(body.bn1(body.conv1(images))))
        for stage in (body.layer1, body.layer2, body.layer3, body.layer4):
            features = stage(features)
            levels.append(features)
        return TowerMaps(tuple(levels))


def group_norm(channels: int) -> nn.GroupNorm:
    """A norm that does not see the rest of the batch."""
    return nn.GroupNorm(_GROUPS if channels % _GROUPS == 0 else 1, channels)


class SimpleFPN(nn.Module):
    """Maps of one or several resolutions to a pyramid (F-ViT; ViTDet, Li et al., ECCV 2022, figure 2).

    Each map is first brought to its own scale: 4 by two transposed convolutions with a norm and GELU between, 2 by
    one, 1 as it is, 0.5 by max pooling; then torchvision's feature pyramid joins them.

    Args:
        in_channels: of each map.
        scales: of each map, falling; all 1 for a backbone that is a pyramid already.
        channels: of every level that comes out.
    """

    def __init__(self, in_channels: Sequence[int], scales: Sequence[float], channels: int = 256) -> None:
        super().__init__()
        if len(in_channels) != len(scales) or list(scales) != sorted(scales, reverse=True):
            raise ValueError(f"scales must fall, one for each map; got {tuple(scales)} for {len(in_channels)} maps")
        self.resize = nn.ModuleList(_resize(width, scale) for width, scale in zip(in_channels, scales, strict=True))
        self.fpn = FeaturePyramidNetwork(list(in_channels), channels, norm_layer=group_norm)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """``(B, D_i, h, w)`` each to levels ``(B, channels, h_i, w_i)``, finest first."""
        resized = OrderedDict(
            (str(index), layer(part)) for index, (layer, part) in enumerate(zip(self.resize, maps, strict=True))
        )
        return list(self.fpn(resized).values())


def _resize(channels: int, scale: float) -> nn.Module:
    if scale == 4:
        first, second = (nn.ConvTranspose2d(channels, channels, 2, 2) for _ in range(2))
        return nn.Sequential(first, group_norm(channels), nn.GELU(), second)
    if scale == 2:
        return nn.ConvTranspose2d(channels, channels, 2, 2)
    if scale == 1:
        return nn.Identity()
    if scale == 0.5:
        return nn.MaxPool2d(2, ceil_mode=True)
    raise ValueError(f"a scale must be one of {_SCALES}; got {scale}")
