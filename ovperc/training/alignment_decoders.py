"""Objectives with a decoder of their own: described regions (GRAIN) and masked views (locality alignment)."""

from __future__ import annotations

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import box_convert

from ovperc.core.structures import DenseFeatures, Tap
from ovperc.data.region_text import RegionTextBatch
from ovperc.registry import TASK_UTILS
from ovperc.training.alignment import Objective, RegionAlignment
from ovperc.training.alignment_objectives import joint_truth, watch_pairs
from ovperc.training.losses.contrastive import masked_contrastive_loss
from ovperc.training.losses.gather import gather_batch
from ovperc.training.losses.grounding import box_losses, match_queries, word_loss
from ovperc.training.losses.masked_tokens import draw_patch_masks, mask_pixels, reconstruction_loss


class QueryDecoder(nn.Module):
    """Queries that read an image: some describe regions, the last one the whole (GRAIN, Shaikh et al., 2024).

    Args:
        width: of the tower's tokens.
        embed_dim: of the joint space.
        queries: of regions.
        channels, layers, heads, feedforward, dropout: of the decoder.
    """

    def __init__(
        self,
        width: int,
        embed_dim: int,
        queries: int = 5,
        channels: int = 512,
        layers: int = 6,
        heads: int = 8,
        feedforward: int = 2048,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.reduce = nn.Sequential(nn.Linear(width, channels, bias=False), nn.LayerNorm(channels))
        self.queries = nn.Parameter(0.02 * torch.randn(queries + 1, channels))
        layer = nn.TransformerDecoderLayer(channels, heads, feedforward, dropout, batch_first=True, norm_first=True)
        self.decoder = nn.TransformerDecoder(layer, layers, nn.LayerNorm(channels))
        self.to_image = nn.Parameter(channels**-0.5 * torch.randn(channels, embed_dim))
        self.to_region = nn.Parameter(channels**-0.5 * torch.randn(channels, embed_dim))
        self.to_box = nn.Sequential(
            nn.Linear(channels, channels), nn.ReLU(), nn.Linear(channels, channels), nn.ReLU(), nn.Linear(channels, 4)
        )

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens ``(B, p + n, D)`` to image ``(B, E)`` and region ``(B, Q, E)`` unit rows, and boxes ``(B, Q, 4)``.

        Boxes are ``cxcywh`` in 0..1.
        """
        queries = self.queries.expand(len(tokens), -1, -1)
        found = self.decoder(queries, self.reduce(tokens))
        regions = F.normalize(found[:, :-1] @ self.to_region, dim=-1)
        return F.normalize(found[:, -1] @ self.to_image, dim=-1), regions, self.to_box(found[:, :-1]).sigmoid()


@TASK_UTILS.register_module()
class GroundedDescriptions(Objective):
    """GRAIN: captions for images, phrases and boxes for queries.

    ``L = contrast(image, caption) + 1.5 (L1 + 1 - GIoU) + words``, each matched query naming its phrase among all.

    Args:
        queries: regions described per image.
        box_weight: of the box losses.
        **decoder: sizes of `QueryDecoder`.
    """

    reads_texts = True

    def __init__(self, queries: int = 5, box_weight: float = 1.5, **decoder: float) -> None:
        super().__init__()
        self.settings = {"queries": queries, **decoder}
        self.box_weight = box_weight

    def prepare(self, task: RegionAlignment) -> None:
        """Builds the decoder."""
        self.decoder = QueryDecoder(task.tower.width, task.tower.embed_dim, **self.settings)

    def reach(self, task: RegionAlignment, images: Tensor) -> Tensor:
        """The tokens that leave the tower."""
        return last_tokens(task.tower.forward_dense(images, ["-1.out"])).sum()

    def forward(self, task: RegionAlignment, batch: RegionTextBatch) -> dict[str, Tensor]:
        """The losses of a batch with captions, boxes and phrases.

        Raises:
            ValueError: captions, boxes or phrases are missing.
        """
        if not (batch.texts and batch.boxes and batch.phrases):
            raise ValueError("described regions need a batch with texts, boxes and phrases")
        features = task.tower.forward_dense(task.normalized(batch.images), ["-1.out"])
        own, regions, found = self.decoder(last_tokens(features))
        images, texts = gather_batch(own), gather_batch(task.text_embeddings(batch.texts))
        true = joint_truth(batch, len(images)).to(images.device)
        owners = torch.arange(len(images), device=images.device)
        with torch.autocast(images.device.type, enabled=False):  # cosines over a temperature need float32
            loss = masked_contrastive_loss(images, texts, owners, true, task.scale)
        side = batch.images.shape[-1]
        boxes = [box_convert(part.to(found), "xyxy", "cxcywh") / side for part in batch.boxes]
        matches = match_queries(found, boxes)
        l1, giou = box_losses(found, boxes, matches)
        phrases = [phrase for part in batch.phrases for phrase in part]
        embedded = task.text_embeddings(phrases) if phrases else texts[:0]
        return {
            "loss_image": loss,
            "loss_l1": self.box_weight * l1,
            "loss_giou": self.box_weight * giou,
            "loss_words": word_loss(regions, embedded, matches, task.scale),
            **watch_pairs(images.detach(), texts, true, task.scale),
        }


@TASK_UTILS.register_module()
class MaskedReconstruction(Objective):
    """Locality alignment (MaskEmbed, Covert et al., 2024): tokens alone must tell what a masked view looks like.

    The frozen tower without its last block sees images with patches taken out; a small decoder predicts its tokens
    from the trained tower's tokens of the whole image with the same patches taken out. The tower's output leaves the
    joint space this way: it is a backbone then, not a scorer of words.

    Args:
        sigma: standard deviation of the teacher's tokens, see :func:`teacher_deviation`.
        blocks: of the decoder.
        heads: of its attention.
    """

    def __init__(self, sigma: float = 1.0, blocks: int = 2, heads: int = 4) -> None:
        super().__init__()
        if sigma <= 0:
            raise ValueError(f"sigma must be positive; got {sigma}")
        self.sigma, self.blocks, self.heads = sigma, blocks, heads

    def prepare(self, task: RegionAlignment) -> None:
        """A norm, a head that starts at zero, and the decoder."""
        width, tower = task.tower.width, task.tower
        side = task.clip.preprocess.image_size_px // tower.stride_px
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, width)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.positions = nn.Parameter(0.02 * torch.randn(tower.num_prefix + side * side, width))
        blocks = [Block(width, self.heads, qkv_bias=True, init_values=1e-6) for _ in range(self.blocks)]
        self.decoder = nn.Sequential(*blocks, nn.LayerNorm(width), nn.Linear(width, width))

    def reach(self, task: RegionAlignment, images: Tensor) -> Tensor:
        """The tokens that leave the tower."""
        return last_tokens(task.tower.forward_dense(images, ["-1.out"])).sum()

    def forward(self, task: RegionAlignment, batch: RegionTextBatch) -> dict[str, Tensor]:
        """The loss of a batch; masks depend on the images' seeds. Images have the tower's own size."""
        images = task.normalized(batch.images)
        features = task.tower.forward_dense(images, ["-1.out"])
        grid_hw, prefix = features.grid_hw, features.num_prefix
        masks = draw_patch_masks(grid_hw[0] * grid_hw[1], batch.generators()).to(images.device)
        with torch.no_grad():
            views = task.teacher.forward_dense(mask_pixels(images, masks, grid_hw), ["-2.out"])
            taught = task.teacher.close(views[Tap(-2, "out")], grid_hw)
        tokens = self.head(self.norm(last_tokens(features)))
        if tokens.shape[1] != len(self.positions):
            raise ValueError(
                f"images must give {len(self.positions)} tokens, as the tower's own size; {tokens.shape[1]}"
            )
        kept = F.pad(masks.flatten(0, 1), (prefix, 0))[..., None]
        said = self.decoder(tokens.repeat_interleave(masks.shape[1], dim=0) * kept + self.positions)
        return {"loss_masked": reconstruction_loss(said, taught, self.sigma)}


def last_tokens(features: DenseFeatures) -> Tensor:
    """All tokens that leave the last block, ``(B, p + n, D)``."""
    return features[Tap(-1, "out")]


@torch.no_grad()
def teacher_deviation(task: RegionAlignment, images: Tensor) -> float:
    """Standard deviation of the frozen tower's tokens one block before the end, of whole images (uint8)."""
    features = task.teacher.forward_dense(task.normalized(images), ["-2.out"])
    return float(task.teacher.close(features[Tap(-2, "out")], features.grid_hw).float().std())
