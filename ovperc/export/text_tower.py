"""The text tower of an export: token ids to unit embeddings, and its tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import onnx
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ovperc.export.parts import ExportError
from ovperc.export.tracing import trace_module

if TYPE_CHECKING:
    from ovperc.backbones.text_tower import TextTower
    from ovperc.text.encoder import TextEncoder


def trained_tokens(text: TextTower) -> Tensor:
    """Which tokens have an embedding that is not all zeros, ``(V,)`` bool: the others were never trained."""
    return text.tower.token_embedding.weight.detach().any(dim=1).cpu()


class TextGraph(nn.Module):
    """A CLIP text tower: token ids to unit embeddings.

    Rows of the token table that hold only zeros (tokens that were never trained) are stored once.

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
        trained = trained_tokens(text)
        self.register_buffer("rows", torch.cat([torch.zeros_like(table[:1]), table[trained]]))
        self.register_buffer("row_of_token", torch.where(trained, trained.cumsum(0), 0).to(torch.int32))

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


def export_text(text: TextTower) -> onnx.ModelProto:
    """The text tower as ``tokens (N, L) int64 -> embeddings (N, E)``, unit rows."""
    free = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    return trace_module(
        TextGraph(text).eval(), {"tokens": torch.zeros(2, 9, dtype=torch.int64)}, (free,), ("embeddings",)
    )


def merges_file(encoder: TextEncoder) -> Path:
    """The tokenizer's file that travels along.

    Raises:
        ExportError: the tokenizer is not CLIP's.
    """
    from open_clip.tokenizer import SimpleTokenizer, default_bpe, get_clean_fn

    tokenizer = encoder.text_tower.tokenizer
    if not isinstance(tokenizer, SimpleTokenizer) or tokenizer.clean_fn is not get_clean_fn("lower"):
        raise ExportError(
            f"the tokenizer {type(tokenizer).__name__} of this text tower has no form without its library; "
            "bake the words in with --fixed-words"
        )
    return Path(default_bpe())


def known_tokens(encoder: TextEncoder) -> tuple[int, ...] | None:
    """Tokens that the text tower was trained on; ``None`` where it is all of them."""
    trained = trained_tokens(encoder.text_tower)
    return None if bool(trained.all()) else tuple(trained.nonzero().flatten().tolist())
