"""Teachers of where objects are, made of self-supervised features alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ovperc.backbones.dino import VisionModel, load_dino
from ovperc.registry import TASK_UTILS
from ovperc.weights.reading import CheckpointError, read_checkpoint


@TASK_UTILS.register_module()
class FoundTeacher:
    """FOUND (Simeoni et al., CVPR 2023): a 1 x 1 convolution on the keys of DINO's last block.

    Args:
        weights: of DINO ViT-S/8; FOUND was trained on ``dino_deitsmall8_300ep_pretrain.pth``, which is not the file
            that timm has.
        decoder: FOUND's ``decoder_weights.pt``.
        **tower: as for ``load_dino``.

    Raises:
        CheckpointError: the decoder does not fit the tower.
    """

    def __init__(self, weights: str | Path, decoder: str | Path, **tower: Any) -> None:
        self.model = load_dino(weights, **tower)
        state = read_checkpoint(decoder)
        width = self.model.backbone.width
        if tuple(state.get("weight", torch.empty(0)).shape) != (1, width, 1, 1):
            raise CheckpointError(
                f"{decoder} is no FOUND decoder for a tower of width {width}: weight must be (1, {width}, 1, 1)"
            )
        self.decoder = nn.Conv2d(width, 1, 1)
        self.decoder.load_state_dict({name: state[name].float() for name in ("weight", "bias")})
        self.decoder.to(self.model.backbone.device).eval()

    @torch.inference_mode()
    def __call__(self, pixels: Tensor) -> Tensor:
        """Probability of an object, ``(B, 3, H, W)`` in 0..1 ``-> (B, h, w)``."""
        stride = self.model.backbone.stride_px
        height, width = pixels.shape[-2:]
        images = F.pad(normalized(pixels, self.model), (0, -width % stride, 0, -height % stride))
        features = self.model.backbone.forward_dense(images, ["-1.k"])
        keys = features.patches("-1.k").float().transpose(1, 2).unflatten(2, features.grid_hw)
        return self.decoder(keys)[:, 0].sigmoid()


@TASK_UTILS.register_module()
class BorderTeacher:
    """What is unlike the border of the picture, by the cosine of patches: a teacher without any training.

    The background is every patch whose similarity with some material of the border is at least ``threshold``
    (FOUND's first stage grows the background from one seed in the same way; here every border patch is one, and a
    patch is background where at least ``share`` of them agree).

    Args:
        weights: of the tower, as for ``load_dino``.
        threshold: cosine above which two patches are alike.
        share: of border patches that must be alike.
        **tower: as for ``load_dino``.
    """

    def __init__(self, weights: str | Path, threshold: float = 0.5, share: float = 0.1, **tower: Any) -> None:
        self.model = load_dino(weights, **tower)
        self.threshold = threshold
        self.share = share

    @torch.inference_mode()
    def __call__(self, pixels: Tensor) -> Tensor:
        """1 for objects and 0 for background, ``(B, 3, H, W)`` in 0..1 ``-> (B, h, w)``."""
        features = self.model.backbone.forward_dense(normalized(pixels, self.model), ["-1.final"])
        unit = F.normalize(features.patches("-1.final").float(), dim=-1)
        height, width = features.grid_hw
        rim = torch.ones(height, width, dtype=torch.bool, device=unit.device)
        rim[1:-1, 1:-1] = False
        alike = (unit @ unit[:, rim.flatten()].transpose(1, 2) >= self.threshold).float().mean(dim=-1)
        return (alike < self.share).float().unflatten(1, (height, width))


def normalized(pixels: Tensor, model: VisionModel) -> Tensor:
    """``(B, 3, H, W)`` in 0..1 as the tower asks."""
    mean, std = (
        torch.tensor(values, device=pixels.device).view(1, 3, 1, 1)
        for values in (model.preprocess.mean, model.preprocess.std)
    )
    return (pixels - mean) / std
