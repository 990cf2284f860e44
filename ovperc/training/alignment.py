"""Training that makes a dual encoder's dense features agree with words, region by region, as an mmengine model."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn
from torch.nn import functional as F

from ovperc.backbones.base import DenseBackbone
from ovperc.backbones.loading import ClipModel, load_clip
from ovperc.readout.base import Readout
from ovperc.readout.regions import box_weights, pool_regions
from ovperc.registry import MODELS, READOUTS, TASK_UTILS

DENSE_READOUT = {"type": "BlockReadout", "affinity": {"type": "Identity"}}
"""The last block with its value path alone (CLIPSelf, CLIM, F-ViT)."""


class Objective(nn.Module):
    """What is minimised: a part with its own parameters, such as a decoder, if it has any.

    Attributes:
        reads_texts: whether the temperature of image-text pairs is learnt along.
        pools_images: whether the tower's own pooled embedding is trained along.
    """

    reads_texts: bool = False
    pools_images: bool = False

    def prepare(self, task: RegionAlignment) -> None:
        """Builds what depends on the tower's sizes; called once."""

    def reach(self, task: RegionAlignment, images: Tensor) -> Tensor:
        """A scalar that depends on every parameter of the tower that the losses depend on; images are normalised."""
        dense = task.dense_tokens(images).sum()
        return dense + task.pooled_embeddings(images).sum() if self.pools_images else dense

    def forward(self, task: RegionAlignment, batch: Any) -> dict[str, Tensor]:
        """Losses (``loss_...``) and figures to watch."""
        raise NotImplementedError


@MODELS.register_module()
class RegionAlignment(BaseModel):
    """An image tower in training beside a frozen text tower; the objective says what for.

    Trained are the tower's last blocks; patch embedding, positions, closing norm and projection keep still, so that
    the joint space stays where the words are. Frozen towers are no part of the state.

    Gradients go through ``forward``, so that ``DistributedDataParallel`` averages them.

    Args:
        clip: ``dict(arch=..., weights=...)`` for ``load_clip``, or a loaded model; its tower is copied.
        objective: ``dict(type=NAME, ...)`` of ``ovperc.training.alignment_objectives``.
        trained_blocks: how many of the last blocks; -1 trains the whole tower.
        readout: how dense features are read; left out, the value path of the last block.
        ensemble_ratio: weight of the trained parameters in the exported ensemble with the original ones (CLIM 0.7,
            CLIPSelf 0.7 and 0.95).
        max_scale: bound of the learnt inverse temperature.
        reinitialised_blocks: so many of the last blocks start anew, to unlearn what they took for granted.

    Raises:
        ValueError: the tower has fewer blocks, ``ensemble_ratio`` is not in 0..1, or reinitialised blocks would be
            averaged with the original ones.
    """

    def __init__(
        self,
        clip: dict[str, Any] | ClipModel,
        objective: dict[str, Any] | Objective,
        trained_blocks: int = 6,
        readout: dict[str, Any] | Readout | None = None,
        ensemble_ratio: float = 0.7,
        max_scale: float = 100.0,
        reinitialised_blocks: int = 0,
    ) -> None:
        super().__init__()
        if not 0.0 <= ensemble_ratio <= 1.0:
            raise ValueError(f"ensemble_ratio must be in 0..1; got {ensemble_ratio}")
        if reinitialised_blocks and ensemble_ratio < 1.0:
            raise ValueError(f"reinitialised blocks cannot be averaged: use ensemble_ratio=1; got {ensemble_ratio}")
        clip = load_clip(**clip) if isinstance(clip, dict) else clip
        self.tower: DenseBackbone = copy.deepcopy(clip.backbone)
        self.log_scale = nn.Parameter(torch.tensor(clip.log_scale))
        self.max_log_scale = math.log(max_scale)
        self.ensemble_ratio = ensemble_ratio
        self.readout: Readout = READOUTS.build(readout or DENSE_READOUT)
        self.objective: Objective = TASK_UTILS.build(objective) if isinstance(objective, dict) else objective
        # in a tuple, so that torch does not take the frozen towers for parts of the model
        self._frozen = (clip, clip.backbone.requires_grad_(False).eval())
        mean, std = (torch.tensor(v).view(1, 3, 1, 1) * 255 for v in (clip.preprocess.mean, clip.preprocess.std))
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)
        self.objective.prepare(self)
        for layer in range(self.tower.depth - reinitialised_blocks, self.tower.depth):
            reinitialise(block_module(self.tower, layer))
        self._choose_trained(trained_blocks)

    @property
    def clip(self) -> ClipModel:
        """The frozen dual encoder as it was loaded."""
        return self._frozen[0]

    @property
    def teacher(self) -> DenseBackbone:
        """The tower as it was loaded."""
        return self._frozen[1]

    def _choose_trained(self, blocks: int) -> None:
        depth = self.tower.depth
        if not -1 <= blocks <= depth or blocks == 0:
            raise ValueError(f"trained_blocks must be -1 or in 1..{depth}, the tower's blocks; got {blocks}")
        self.tower.requires_grad_(blocks == -1)
        if blocks > 0:
            for layer in range(depth - blocks, depth):
                block_module(self.tower, layer).requires_grad_(True)
        self.log_scale.requires_grad_(self.objective.reads_texts)
        self._freeze_unreached()

    def _freeze_unreached(self) -> None:
        """Freezes what no loss reaches, such as queries of a last block of which values alone are read.

        Parameters without gradient stop ``DistributedDataParallel``, and would still decay.
        """
        side = self.clip.preprocess.image_size_px
        probe = torch.zeros(1, 3, side, side, dtype=self.tower.dtype, device=self.mean.device)
        reached = self.objective.reach(self, probe)
        trained = [value for value in self.tower.parameters() if value.requires_grad]
        found = torch.autograd.grad(reached, trained, allow_unused=True)
        for value, gradient in zip(trained, found, strict=True):
            value.requires_grad_(gradient is not None)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> RegionAlignment:
        """Takes the frozen towers along to another device."""
        super()._apply(fn, recurse)
        for frozen in (self.clip.backbone, self.clip.text):
            frozen._apply(fn, recurse)
        return self

    def normalized(self, images: Tensor) -> Tensor:
        """``(B, 3, H, W)`` uint8 as the tower asks."""
        return (images.to(self.mean.device).float() - self.mean) / self.std

    def dense_tokens(self, images: Tensor) -> Tensor:
        """Unit patch embeddings ``(B, E, h, w)`` of normalised images, with gradient."""
        features = self.tower.forward_dense(images, self.readout.taps(self.tower))
        return self.readout(self.tower, features).patches

    def region_embeddings(self, images: Tensor, boxes: Sequence[Tensor]) -> Tensor:
        """Unit embeddings of boxes, image by image.

        Args:
            images: ``(B, 3, H, W)`` normalised.
            boxes: per image ``(n_i, 4)`` ``xyxy`` px of those images.

        Returns:
            ``(sum n_i, E)`` float32.
        """
        maps = self.dense_tokens(images)
        grid_hw, stride = (maps.shape[-2], maps.shape[-1]), float(self.tower.stride_px)
        parts = [
            pool_regions(dense, box_weights(part.to(maps), grid_hw, stride))
            for dense, part in zip(maps, boxes, strict=True)
        ]
        return torch.cat(parts)

    def pooled_embeddings(self, images: Tensor) -> Tensor:
        """The tower's own image embeddings of normalised images, unit rows ``(B, E)`` float32."""
        return F.normalize(self.tower.encode_pooled(images).float(), dim=-1)

    @torch.no_grad()
    def text_embeddings(self, texts: Sequence[str]) -> Tensor:
        """Unit rows ``(Q, E)`` float32 of the frozen text tower."""
        text = self.clip.text
        tokens = text.tokenize(list(texts)).to(text.device)
        return F.normalize(text.encode_tokens(tokens).float(), dim=-1)

    @torch.no_grad()
    def word_embeddings(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Every token of texts in the joint space, unit rows ``(Q, L, E)`` float32, and which are words ``(Q, L)``.

        The begin token and padding are no words; the end token, which sums a text up, is one.
        """
        text = self.clip.text
        embedded, is_word = text.encode_each(text.tokenize(list(texts)).to(text.device))
        return F.normalize(embedded.float(), dim=-1), is_word

    @property
    def scale(self) -> Tensor:
        """Inverse temperature of image-text pairs, bounded."""
        return self.log_scale.clamp(max=self.max_log_scale).exp()

    def forward(self, batch: Any, mode: str = "loss") -> dict[str, Tensor]:
        """The objective's losses of a batch."""
        if mode != "loss":
            raise ValueError(f"mode must be 'loss'; got {mode!r}")
        return self.objective(self, batch)

    def train(self, mode: bool = True) -> RegionAlignment:
        """Training keeps the tower in evaluation mode: no dropout, and frozen running statistics."""
        super().train(mode)
        self.tower.eval()
        return self

    def averaged_visual(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Ensemble of the trained tower in ``state`` and the original one, under the tower's own names."""
        prefix = "tower.tower."
        original = self.teacher.tower.state_dict()
        return {
            name: value
            if not value.is_floating_point()
            else value.lerp(state[prefix + name].to(value), self.ensemble_ratio)
            for name, value in original.items()
        }

    def export_state(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The whole dual encoder in OpenCLIP's layout, as CLIM's and CLIPSelf's released files have it."""
        text = self.clip.text.tower.state_dict()
        prefix = "" if type(self.clip.text.tower).__name__ == "ClipText" else "text."
        return {
            **{f"visual.{name}": value for name, value in self.averaged_visual(state).items()},
            **{prefix + name: value for name, value in text.items()},
            "logit_scale": state["log_scale"],
        }


def block_module(tower: DenseBackbone, layer: int) -> nn.Module:
    """The stock module of a transformer block.

    Raises:
        ValueError: the tower is no transformer.
    """
    visual = getattr(tower.tower, "trunk", tower.tower)
    blocks = getattr(visual, "blocks", None)
    if blocks is None and hasattr(visual, "transformer"):
        blocks = visual.transformer.resblocks
    if blocks is None:
        raise ValueError(f"{type(tower).__name__} has no transformer blocks; pass trained_blocks=-1")
    return blocks[layer]


@torch.no_grad()
def reinitialise(block: nn.Module) -> None:
    """Draws a block's weights as ViTs start (standard deviation 0.02); norms become the identity."""
    for part in block.modules():
        if isinstance(part, nn.Linear):
            nn.init.trunc_normal_(part.weight, std=0.02)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.LayerNorm):
            part.reset_parameters()
