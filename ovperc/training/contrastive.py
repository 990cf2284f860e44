"""Training of a dual encoder by image-text contrast, as an mmengine model."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from ovperc.backbones.mini_archs import MEAN, STD, build_clip_mini
from ovperc.data.world.contrastive import CompactTokenizer, ContrastiveBatch
from ovperc.registry import MODELS
from ovperc.training.batch_model import BatchModel
from ovperc.training.losses.contrastive import masked_contrastive_loss


@MODELS.register_module()
class ContrastiveDualEncoder(BatchModel):
    """clip-mini in training: compact token numbers, several image sizes in a step.

    Args:
        max_scale: bound of the learnt inverse temperature (100 in CLIP).
    """

    def __init__(self, max_scale: float = 100.0) -> None:
        super().__init__()
        self.tokenizer = CompactTokenizer()
        self.clip = build_clip_mini(vocab_size=len(self.tokenizer))
        self.max_log_scale = math.log(max_scale)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1) * 255, persistent=False)
        _start_well(self.clip.visual.trunk)
        self.clip.visual.trunk.patch_embed.to(memory_format=torch.channels_last)  # 1.3x faster on CPUs

    def encode_images(self, images: Tensor) -> Tensor:
        """``(B, 3, H, W)`` uint8 RGB -> unit rows ``(B, E)``."""
        images = (images.float() - self.mean) / self.std
        return F.normalize(self.clip.visual(images.contiguous(memory_format=torch.channels_last)), dim=-1)

    def encode_texts(self, tokens: Tensor) -> Tensor:
        """``(Q, L)`` compact tokens -> unit rows ``(Q, E)``; equal to the tower at full length, as it is causal."""
        tower, length = self.clip.text, tokens.shape[1]
        x = tower.token_embedding(tokens) + tower.positional_embedding[:length]
        x = tower.ln_final(tower.transformer(x, attn_mask=tower.attn_mask[:length, :length]))
        x = x[torch.arange(len(x), device=x.device), tokens.argmax(-1)]
        return F.normalize(x @ tower.text_projection, dim=-1)

    def _encode_by_length(self, tokens: Tensor) -> Tensor:
        """`encode_texts`, shorter half first, so that few long captions do not slow down the rest."""
        lengths = tokens.argmax(-1) + 1
        order = lengths.argsort(stable=True)
        halves = [tokens[part][:, : int(lengths[part].max())] for part in order.chunk(2)]
        return torch.cat([self.encode_texts(half) for half in halves])[order.argsort()]

    def forward(self, batch: ContrastiveBatch, mode: str = "loss") -> dict[str, Tensor] | tuple[Tensor, Tensor]:
        """The loss of a batch (``mode="loss"``), or its image and text embeddings (``mode="tensor"``)."""
        device = self.mean.device
        images = torch.cat([self.encode_images(group.to(device)) for group in batch.images])
        texts = self._encode_by_length(batch.tokens.to(device))
        if mode == "tensor":
            return images, texts
        if mode != "loss":
            raise ValueError(f"mode must be 'loss' or 'tensor'; got {mode!r}")
        scale = self.clip.logit_scale.clamp(max=self.max_log_scale).exp()
        owners, true = batch.owners.to(device), batch.true.to(device)
        loss = masked_contrastive_loss(images, texts, owners, true, scale)
        return {"loss": loss, **self._watch(images.detach(), texts.detach(), owners, true)}

    def _watch(self, images: Tensor, texts: Tensor, owners: Tensor, true: Tensor) -> dict[str, Tensor]:
        """Share of captions whose own image beats all images they are false of."""
        similarity = texts @ images.T
        own = similarity.gather(1, owners[:, None])[:, 0]
        true = true | F.one_hot(owners, images.shape[0]).bool()
        best = similarity.masked_fill(true, -2.0).amax(1)
        return {"accuracy": (own > best).float().mean(), "scale": self.clip.logit_scale.detach().exp()}


@torch.no_grad()
def _start_well(trunk: torch.nn.Module) -> None:
    """Sine-cosine positions, and queries near keys, so that tokens first attend to their like."""
    height, width = trunk.patch_embed.grid_size
    channels = trunk.embed_dim // 4
    frequency = 30.0 ** (-torch.arange(channels) / channels)
    y, x = (axis.flatten()[:, None] * frequency for axis in torch.meshgrid(
        torch.arange(height), torch.arange(width), indexing="ij"))  # fmt: skip
    trunk.pos_embed.copy_(0.5 * torch.cat([y.sin(), y.cos(), x.sin(), x.cos()], 1)[None])
    for block in trunk.blocks:
        query, key, _ = block.attn.qkv.weight.chunk(3)
        key.mul_(0.2).add_(0.8 * query)
        query.mul_(1.3)
        key.mul_(1.3)
