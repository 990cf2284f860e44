"""Training of a promptable segmenter, as an mmengine model."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ovperc.backbones.sam import build_sam
from ovperc.backbones.sam_prompts import Prompts, decode_masks
from ovperc.data.world.prompts import PromptedRegions
from ovperc.registry import MODELS
from ovperc.training.batch_model import BatchModel
from ovperc.training.losses.masks import mask_iou, promptable_loss

PROMPT_KINDS = {"point": 0.45, "box": 0.25, "box+point": 0.1, "box+point+mask": 0.2}
"""Share of training steps with each kind of prompt."""


@MODELS.register_module()
class PromptableSegmenter(BatchModel):
    """SAM in training, in segment-anything's own classes.

    Args:
        sam: sizes, as :func:`ovperc.backbones.sam.build_sam` takes them.
        init_std: deviation of the position table at the start, which segment-anything leaves at zero.
    """

    def __init__(self, sam: dict[str, Any], init_std: float = 0.5) -> None:
        super().__init__()
        self.sam = build_sam(sam)
        _start_well(self.sam.image_encoder, init_std)

    def forward(self, batch: PromptedRegions, mode: str = "loss", kind: str | None = None) -> Any:
        """The losses of a batch (``mode="loss"``), or logits and predicted IoU (``mode="tensor"``).

        Args:
            batch: pictures, regions and prompts.
            mode: ``loss`` or ``tensor``.
            kind: of the prompts; left out, drawn by ``PROMPT_KINDS``.
        """
        if mode not in ("loss", "tensor"):
            raise ValueError(f"mode must be 'loss' or 'tensor'; got {mode!r}")
        kind = kind or self._draw_kind()
        device = self.sam.pixel_mean.device
        images = (batch.images.to(device).float() - self.sam.pixel_mean) / self.sam.pixel_std
        embeddings = self.sam.image_encoder(images)
        prompts = choose_prompts(batch, kind, device)
        logits, quality = decode_masks(self.sam, embeddings, batch.image_of.to(device), prompts)
        if mode == "tensor":
            return logits, quality
        target = F.adaptive_avg_pool2d(batch.masks.to(device).float(), logits.shape[-2:])
        losses = promptable_loss(logits, quality, target, ambiguous=kind == "point")
        return {**losses, "iou": mask_iou(logits[:, :1], target).mean()}

    def _draw_kind(self) -> str:
        shares = torch.tensor(list(PROMPT_KINDS.values()))
        return list(PROMPT_KINDS)[int(torch.multinomial(shares, 1))]

    def export_state(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """SAM's own keys out of a checkpoint's ``state_dict``."""
        kept = self.sam.state_dict()
        named = {name.removeprefix("sam."): value for name, value in state.items() if name.startswith("sam.")}
        return {name: named[name] for name in kept}


def choose_prompts(batch: PromptedRegions, kind: str, device: torch.device | str = "cpu") -> Prompts:
    """The prompts of a kind such as ``"box+point"``."""
    parts = kind.split("+")
    points = batch.points.to(device) if "point" in parts else None
    return Prompts(
        points=points,
        labels=None if points is None else torch.ones(points.shape[:2], device=device),
        boxes=batch.boxes.to(device) if "box" in parts else None,
        masks=batch.rough.to(device) if "mask" in parts else None,
    )


@torch.no_grad()
def _start_well(encoder: torch.nn.Module, std: float) -> None:
    """Sine-cosine positions, and queries near keys, so that tokens first attend to their like."""
    _, height, width, channels = encoder.pos_embed.shape
    frequency = 30.0 ** (-torch.arange(channels // 4) / (channels // 4))
    y, x = (
        axis[..., None] * frequency for axis in torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    )
    encoder.pos_embed.copy_(std * torch.cat([y.sin(), y.cos(), x.sin(), x.cos()], dim=-1)[None])
    for block in encoder.blocks:
        query, key, _ = block.attn.qkv.weight.chunk(3)
        key.mul_(0.2).add_(0.8 * query)
        query.mul_(1.3)
        key.mul_(1.3)
