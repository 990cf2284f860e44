"""Text embeddings from learned token vectors, at the input and at deeper blocks of the text tower."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ovperc.backbones.text_tower import TextTower


def encode_vectors(tower: TextTower, rows: Tensor, ends: Tensor, deep: Sequence[Tensor] = ()) -> Tensor:
    """Encodes prompts given as token embeddings.

    The tower's blocks run one by one; at the input of block ``i + 1`` (from 0), rows ``1..len`` are replaced by
    ``deep[i]``; all other rows are kept (AnomalyCLIP, Zhou et al., ICLR 2024, section 3.3). The tower is causal, so
    rows after the last end token are dropped.

    Args:
        tower: causal text tower from open_clip.
        rows: ``(Q, L, D)`` token embeddings without positional embeddings.
        ends: ``(Q,)`` int64, index of the end token.
        deep: one ``(m, D)`` per block after the first, in order.

    Returns:
        ``(Q, E)``, not normalised; gradients flow to ``rows`` and ``deep``.

    Raises:
        ValueError: the text tower is not causal, or there are more deep tokens than blocks or rows.
    """
    inner: Any = tower.tower
    if not tower.causal or not hasattr(inner, "transformer"):
        raise ValueError("learned prompts require CLIP's causal text tower; use weights of a CLIP model")
    blocks = inner.transformer.resblocks
    if len(deep) > len(blocks) - 1:
        raise ValueError(f"the text tower has {len(blocks)} blocks, so at most {len(blocks) - 1} deep tokens fit")
    length = int(ends.max()) + 1
    hidden = rows[:, :length] + inner.positional_embedding[:length].to(rows.dtype)
    mask = inner.attn_mask[:length, :length].to(hidden.dtype)
    for layer, block in enumerate(blocks):
        if 0 < layer <= len(deep):
            tokens = deep[layer - 1].to(hidden.dtype)
            tail = hidden[:, 1 + len(tokens) :]
            hidden = torch.cat([hidden[:, :1], tokens.expand(len(hidden), -1, -1), tail], dim=1)
        hidden = block(hidden, attn_mask=mask)
    return tower._project(hidden[torch.arange(len(rows), device=rows.device), ends])
