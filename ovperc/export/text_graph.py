"""The text tower as it is traced: token ids in, unit embeddings out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ovperc.export.graph import ExportError

if TYPE_CHECKING:
    from ovperc.backbones.text_tower import TextTower


def met_tokens(text: TextTower) -> Tensor:
    """Which tokens have an embedding that is not all zeros, ``(V,)`` bool: the others were never trained."""
    return text.tower.token_embedding.weight.detach().any(dim=1).cpu()


class TextGraph(nn.Module):
    """A CLIP text tower: token ids to unit embeddings.

    Rows of the token table that hold only zeros (tokens that the weights never met) are stored once.

    Args:
        text: the tower; its tokenizer must be CLIP's byte-pair encoding.
    """

    def __init__(self, text: TextTower) -> None:
        super().__init__()
        if not text.causal:
            raise ExportError(
                f"the text tower {type(text.tower).__name__} is not a causal CLIP tower and is not exported; "
                "bake the words in with --fixed-words"
            )
        self.tower = text.tower
        table = text.tower.token_embedding.weight.detach()
        met = met_tokens(text)
        self.register_buffer("rows", torch.cat([torch.zeros_like(table[:1]), table[met]]))
        self.register_buffer("row_of_token", torch.where(met, met.cumsum(0), 0).to(torch.int32))

    def forward(self, tokens: Tensor) -> Tensor:
        """``(N, L)`` int64 with ``L`` up to the context length, cut behind the last end token, to ``(N, E)``."""
        tower = self.tower
        # Positions by index and a mask by comparison: slices of the tables would fix the length when traced.
        places = torch.arange(tokens.shape[1], device=tokens.device)
        ahead = places[None, :] > places[:, None]
        mask = torch.zeros_like(ahead, dtype=self.rows.dtype).masked_fill(ahead, float("-inf"))
        rows = self.row_of_token[tokens].long()
        hidden = F.embedding(rows, self.rows) + tower.positional_embedding[places]
        hidden = tower.transformer(hidden, attn_mask=mask)
        ends = tokens.argmax(dim=-1) if tower.pool_type == "argmax" else (tokens == tower.eos_id).int().argmax(dim=-1)
        last = (places == ends[:, None]).to(hidden.dtype)
        pooled = tower.ln_final((last[:, None] @ hidden)[:, 0])
        if isinstance(tower.text_projection, nn.Linear):
            pooled = tower.text_projection(pooled)
        elif tower.text_projection is not None:
            pooled = pooled @ tower.text_projection
        return F.normalize(pooled.float(), dim=-1)
