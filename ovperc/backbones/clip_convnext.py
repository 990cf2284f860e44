"""Convolutional timm trunks (ConvNeXt, FastViT of MobileCLIP-S): one feature map, each position for itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from open_clip.timm_model import TimmModel
from torch import Tensor

from ovperc.backbones.base import POOLED, DenseBackbone, resolve_taps
from ovperc.core.structures import DenseFeatures, Tap


class ConvBlock:
    """The identity: average pooling lets every position keep its own value."""

    num_heads = 1
    has_residual = False
    affine_output = True

    def project_out(self, tokens: Tensor) -> Tensor:
        """The tokens unchanged; ``(B, n, D)``."""
        return tokens

    def feed_forward(self, tokens: Tensor) -> Tensor:
        """Raises ValueError: a pooled feature map has no feed-forward part."""
        raise ValueError("a convolutional tower has no feed-forward part after its map; use residual and ffn off")


class ClipConvNet(DenseBackbone):
    """A timm trunk that ends in a feature map and a pooled head.

    The taps ``in``, ``v`` and ``out`` of the only layer are the final map; ``q`` and ``k`` do not exist, so
    methods that read only values run (MaskCLIP without key smoothing), and the others raise ValueError.
    ``project`` runs the head (norm and projection) on every position as if it were the whole image.
    """

    depth = 1
    num_prefix = 0

    def __init__(self, tower: TimmModel) -> None:
        super().__init__()
        trunk = tower.trunk
        name = type(trunk).__name__
        if hasattr(trunk, "patch_embed") or getattr(trunk, "output_fmt", "NCHW") != "NCHW":
            raise ValueError(
                f"image tower {name} is not supported; supported are open_clip's ViT and ResNet, timm's "
                "VisionTransformer and Eva, and timm trunks that end in an (h, w) feature map, such as ConvNeXt"
            )
        if "pool" in dict(tower.head.named_children()):
            raise ValueError(f"image tower {name} ends in timm's attention pool, which has no dense form here")
        self.tower = tower
        self.stride_px = int(trunk.feature_info[-1]["reduction"])
        self.width = int(trunk.num_features)
        with torch.no_grad():
            probe = torch.zeros(1, 1, self.width, dtype=self.dtype, device=self.device)
            self.embed_dim = self.project(probe).shape[-1]

    def block(self, layer: int) -> ConvBlock:
        self._resolve_layer(layer)
        return ConvBlock()

    def forward_dense(self, images: Tensor, taps: Sequence[Tap | str]) -> DenseFeatures:
        """See :meth:`DenseBackbone.forward_dense`; the only layer is the final feature map."""
        wanted = resolve_taps(taps, self.depth)
        self._check_points(wanted)
        images, grid_hw = self._whole_patches(images)
        features = self.tower.trunk.forward_features(images)
        if tuple(features.shape[-2:]) != grid_hw:
            raise ValueError(f"the trunk answered a map of {tuple(features.shape)} where a grid {grid_hw} was expected")
        tokens = features.flatten(2).transpose(1, 2)
        found = dict.fromkeys(wanted, tokens)
        pooled = POOLED.resolve(self.depth)
        if pooled in wanted:
            found[pooled] = self._pool(features)
        return DenseFeatures(found, grid_hw, 0, self.depth)

    def _check_points(self, wanted: Iterable[Tap]) -> None:
        """Raises ValueError for taps that only attention has."""
        missing = sorted({tap.point for tap in wanted} - {"in", "v", "out", "pooled"})
        if missing:
            raise ValueError(
                f"a {type(self.tower.trunk).__name__} tower has no {', '.join(missing)}: it holds no attention. It "
                "offers in, v, out and pooled of its layers; use a method that reads values only, such as maskclip"
            )

    def project(self, tokens: Tensor) -> Tensor:
        return self._pool(tokens.flatten(0, 1)[:, :, None, None]).unflatten(0, tokens.shape[:2])

    def _pool(self, features: Tensor) -> Tensor:
        """The trunk's head on a map ``(B, D, h, w)``, ``(B, E)``."""
        return self.tower.head(self.tower.trunk.forward_head(features))
