"""Training of learned prompts and of linear adapters on cached features, as mmengine models."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ovperc.backbones.loading import ClipModel, load_clip
from ovperc.registry import MODELS
from ovperc.tasks.anomaly.april_gan import LinearAdapters
from ovperc.tasks.anomaly.learned_prompts import LearnedPrompts
from ovperc.tasks.anomaly.state_texts import ComposedTexts
from ovperc.training.batch_model import BatchModel
from ovperc.training.feature_cache import FeatureBatch
from ovperc.training.losses.anomaly import dice_loss, focal_loss


class HeadTraining(BatchModel):
    """A small part that learns beside frozen towers; a checkpoint holds that part alone.

    Args:
        clip: ``dict(arch=..., weights=...)`` for ``load_clip``, or a loaded model.
    """

    def __init__(self, clip: dict[str, Any] | ClipModel) -> None:
        super().__init__()
        clip = load_clip(**clip) if isinstance(clip, dict) else clip
        clip.text.requires_grad_(False)
        # in a tuple, so that torch does not take the frozen towers for parts of the model
        self._frozen = (clip,)

    def forward(self, batch: FeatureBatch, mode: str = "loss") -> dict[str, Tensor]:
        """Losses of a batch by name; ``mode`` must be ``loss``."""
        if mode != "loss":
            raise ValueError(f"mode must be 'loss'; got {mode!r}")
        return self.losses(batch)

    def losses(self, batch: FeatureBatch) -> dict[str, Tensor]:
        """Losses by name, scalars."""
        raise NotImplementedError


@MODELS.register_module()
class AnomalyPromptTraining(HeadTraining):
    """AnomalyCLIP's training (Zhou et al., ICLR 2024, section 3.4): maps and image scores teach two prompts.

    ``loss = map_weight * sum_taps(focal + dice(p, y) + dice(1 - p, 1 - y)) + CE(image)``.

    Args:
        clip: the dual encoder.
        contexts, depth, deep_length: of :class:`LearnedPrompts`; ``depth`` is cut to the blocks of the text tower.
        tau: temperature.
        map_weight: ``lam`` of the released code, 4.
        image_weight: of the image's cross-entropy.
    """

    def __init__(
        self,
        clip: dict[str, Any] | ClipModel,
        contexts: int = 12,
        depth: int = 9,
        deep_length: int = 4,
        tau: float = 0.07,
        map_weight: float = 4.0,
        image_weight: float = 1.0,
    ) -> None:
        super().__init__(clip)
        tower = self._frozen[0].text
        width = tower.tower.token_embedding.weight.shape[1]
        depth = min(depth, len(tower.tower.transformer.resblocks))
        self.prompts = LearnedPrompts(width, contexts, depth, deep_length)
        self.tau, self.map_weight, self.image_weight = tau, map_weight, image_weight

    def losses(self, batch: FeatureBatch) -> dict[str, Tensor]:
        """See the class."""
        texts = self.prompts.encode(self._frozen[0].text)
        direction = (texts[1] - texts[0]) / self.tau
        masks = batch.masks.to(direction.device).float()
        map_loss = direction.new_zeros(())
        for patches in batch.patches:
            chance = (patches.to(direction.device).float() @ direction).sigmoid().unflatten(1, batch.grid_hw)
            chance = F.interpolate(chance[:, None], masks.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
            map_loss = (
                map_loss + focal_loss(chance, masks) + dice_loss(chance, masks) + dice_loss(1 - chance, 1 - masks)
            )
        margin = F.normalize(batch.pooled.to(direction.device).float(), dim=-1) @ direction
        image_loss = F.binary_cross_entropy_with_logits(margin, batch.anomalous.to(direction.device).float())
        return {"loss_map": self.map_weight * map_loss, "loss_image": self.image_weight * image_loss}

    def export_state(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The prompts under the names of the released checkpoints."""
        return {name.removeprefix("prompts."): value for name, value in state.items() if name.startswith("prompts.")}


@MODELS.register_module()
class AnomalyAdapterTraining(HeadTraining):
    """APRIL-GAN's training (Chen et al., 2023): linear adapters towards two text vectors per object.

    Logits are upsampled before the softmax, ``loss = sum_taps(focal + dice(p, y))``.

    Args:
        clip: the dual encoder.
        taps: number of blocks that are read.
        prompts: name of the sentences.
        scale: factor of the cosines.
    """

    def __init__(
        self, clip: dict[str, Any] | ClipModel, taps: int = 4, prompts: str = "april_gan", scale: float = 100.0
    ) -> None:
        super().__init__(clip)
        model = self._frozen[0]
        self.adapters = LinearAdapters(model.backbone.width, model.backbone.embed_dim, taps)
        self._texts = ComposedTexts(model.text, prompts)
        self.scale = scale

    def losses(self, batch: FeatureBatch) -> dict[str, Tensor]:
        """See the class."""
        device = self.adapters.fc[0].weight.device
        direction = self.scale * torch.stack([self._texts(word).direction for word in batch.words]).to(device)
        masks = batch.masks.to(device).float()
        total = direction.new_zeros(())
        for tokens in self.adapters([patches.to(device) for patches in batch.patches]):
            margin = (F.normalize(tokens, dim=-1) @ direction[:, :, None])[..., 0].unflatten(1, batch.grid_hw)
            chance = F.interpolate(margin[:, None], masks.shape[-2:], mode="bilinear", align_corners=True)[
                :, 0
            ].sigmoid()
            total = total + focal_loss(chance, masks) + dice_loss(chance, masks)
        return {"loss_map": total}

    def export_state(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The adapters under the names of the released checkpoints."""
        return {name.removeprefix("adapters."): value for name, value in state.items() if name.startswith("adapters.")}
