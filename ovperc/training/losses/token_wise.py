"""Late interaction of patches and words (FILIP, Yao et al., ICLR 2022)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

_CHUNK_ELEMENTS = 1 << 24


@dataclass(frozen=True)
class TokenSimilarity:
    """Two similarities of every image and text; they differ, as each token looks for its own best partner.

    Attributes:
        image_to_text: ``(B, Q)`` float32, mean over patches of their best word.
        text_to_image: ``(B, Q)`` float32, mean over words of their best patch.
    """

    image_to_text: Tensor
    text_to_image: Tensor


def late_interaction(images: Tensor, texts: Tensor, is_word: Tensor) -> TokenSimilarity:
    """Compares all patches with all words, some texts at a time.

    Args:
        images: ``(B, n, d)`` unit rows.
        texts: ``(Q, L, d)`` unit rows.
        is_word: ``(Q, L)`` bool, false on padding, which is neither compared nor averaged.

    Raises:
        ValueError: a text without any word.
    """
    if not is_word.any(dim=1).all():
        raise ValueError("every text needs at least one word that is no padding")
    images, texts = images.float(), texts.float()
    step = max(1, _CHUNK_ELEMENTS // max(1, images.shape[0] * images.shape[1] * texts.shape[1]))
    parts = []
    for words, real in zip(texts.split(step), is_word.split(step), strict=True):
        table = torch.einsum("bnd,qld->bqnl", images, words)
        by_patch = table.masked_fill(~real[None, :, None, :], -torch.inf).amax(dim=3).mean(dim=2)
        by_word = (table.amax(dim=2) * real).sum(dim=2) / real.sum(dim=1)
        parts.append((by_patch, by_word))
    return TokenSimilarity(torch.cat([part[0] for part in parts], 1), torch.cat([part[1] for part in parts], 1))


def token_wise_loss(similarity: TokenSimilarity, scale: Tensor, true: Tensor | None = None) -> Tensor:
    """Symmetric InfoNCE: each direction with its own similarity; image ``i`` belongs to text ``i``.

    Args:
        similarity: of ``B`` images and ``B`` texts.
        scale: scalar, the inverse temperature.
        true: ``(B, B)`` bool, text by image: pairs that are no negatives although they do not belong together.
    """
    count = len(similarity.image_to_text)
    by_image = scale.float() * similarity.image_to_text
    by_text = scale.float() * similarity.text_to_image.T
    if true is not None:
        others = true & ~torch.eye(count, dtype=torch.bool, device=true.device)
        by_image = by_image.masked_fill(others.T, -torch.inf)
        by_text = by_text.masked_fill(others, -torch.inf)
    target = torch.arange(count, device=by_image.device)
    return 0.5 * (F.cross_entropy(by_image, target) + F.cross_entropy(by_text, target))


def keep_telling_tokens(images: Tensor, texts: Tensor, is_word: Tensor, share: float) -> Tensor:
    """The patches of each image whose best word in the batch is the most alike, ``(B, ceil(share n), d)``.

    What FILIP sends to other processes; which ones are kept depends on the local batch.
    """
    table = torch.einsum("bnd,qld->bnql", images.detach().float(), texts.float())
    best = table.masked_fill(~is_word, -torch.inf).amax(dim=(2, 3))
    count = max(1, -int(-share * images.shape[1] // 1))
    rows = best.topk(count, dim=1).indices.sort(dim=1).values
    return images.gather(1, rows[..., None].expand(-1, -1, images.shape[2]))
