"""Training of CLIP-DINOiser's heads, as an mmengine model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ovperc.backbones.dino import VisionModel, load_dino
from ovperc.backbones.loading import ClipModel, load_clip
from ovperc.core.structures import Tap
from ovperc.data.world.views import ViewPairs
from ovperc.readout.base import resize_tokens
from ovperc.readout.dinoiser import DinoiserHeads
from ovperc.registry import MODELS, TASK_UTILS
from ovperc.training.batch_model import BatchModel
from ovperc.training.losses.dinoiser import affinity_loss, foreground_loss
from ovperc.training.teachers import normalized


@MODELS.register_module()
class DinoiserTraining(BatchModel):
    """Two heads on a frozen CLIP imitate frozen DINO (what belongs together) and a teacher of foreground.

    Frozen towers are no part of the state: a checkpoint holds the heads alone. CLIP runs only up to the block
    that the heads read.

    Args:
        clip: ``dict(arch=..., weights=...)`` for ``load_clip``, or a loaded model.
        dino: ``dict(weights=...)`` for ``load_dino``, or a loaded model; values of its last block are compared.
        foreground: config of a teacher in ``ovperc.training.teachers``, or any function from pixels to probabilities.
        channels: of the space in which patches are compared.
        threshold: of the teacher's cosines.
        layer: block that the heads read.
    """

    def __init__(
        self,
        clip: dict[str, Any] | ClipModel,
        dino: dict[str, Any] | VisionModel,
        foreground: dict[str, Any] | Callable[[Tensor], Tensor],
        channels: int = 256,
        threshold: float = 0.2,
        layer: int = -3,
    ) -> None:
        super().__init__()
        clip = load_clip(**{"pos_embed": "size", **clip}) if isinstance(clip, dict) else clip
        dino = load_dino(**dino) if isinstance(dino, dict) else dino
        foreground = TASK_UTILS.build(foreground) if isinstance(foreground, dict) else foreground
        self.heads = DinoiserHeads(clip.backbone.width, channels)
        self.threshold = threshold
        self.tap = Tap(layer, "ln_2").resolve(clip.backbone.depth)
        # in a tuple, so that torch does not take the frozen towers for parts of the model
        self._frozen = (clip, dino, foreground)

    def forward(self, batch: ViewPairs | Tensor, mode: str = "loss") -> Any:
        """The losses of a batch (``mode="loss"``), or similarity and foreground logits (``mode="tensor"``).

        Args:
            batch: ``(B, 3, H, W)`` float in 0..1, or pairs of views of the world.
            mode: ``loss`` or ``tensor``.
        """
        if mode not in ("loss", "tensor"):
            raise ValueError(f"mode must be 'loss' or 'tensor'; got {mode!r}")
        clip, dino, foreground = self._frozen
        pixels = _pixels(batch).to(clip.backbone.device)
        with torch.no_grad():
            features = clip.backbone.forward_dense(normalized(pixels, clip), [self.tap])
            patches = features.patches(self.tap).float().clone()
        maps = patches.transpose(1, 2).unflatten(2, features.grid_hw)
        similarity, logits = self.heads.similarity(maps), self.heads.foreground(maps)
        if mode == "tensor":
            return similarity, logits
        with torch.no_grad():
            taught = dino.backbone.forward_dense(normalized(pixels, dino), ["-1.v"])
            values = resize_tokens(taught.patches("-1.v"), taught.grid_hw, features.grid_hw)
            unit = F.normalize(values.float(), dim=-1)
            probability = foreground(pixels).clone()
        return {
            "loss_affinity": affinity_loss(similarity, unit @ unit.transpose(1, 2), self.threshold),
            "loss_foreground": foreground_loss(logits, probability),
        }

    def export_state(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The heads under the names of the released ``last.pt``."""
        return {name.removeprefix("heads."): value for name, value in state.items() if name.startswith("heads.")}


def save_released_layout(path: str | Path, state: dict[str, Tensor], epoch: int) -> None:
    """Writes heads as the authors do, ``{epoch, model_state_dict}``, for their code to read."""
    from ovperc.core.atomic import atomic_write

    with atomic_write(path) as (temporary,):
        torch.save({"epoch": epoch, "model_state_dict": dict(state)}, temporary)


def _pixels(batch: ViewPairs | Tensor) -> Tensor:
    if isinstance(batch, ViewPairs):
        batch = batch.images.flatten(0, 1)
    return batch if batch.is_floating_point() else batch.float() / 255
