"""Compact storage of a text tower's token table: few rows, or a narrow 8-bit table and a matrix that widens it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

TOKEN_TABLE = "text.token_embedding.weight"
TOKEN_ROWS = "text.token_embedding.rows"
TOKEN_IDS = "text.token_embedding.ids"
TOKEN_MIX = "text.token_embedding.mix"


def pack_factorised(table: Tensor, mix: Tensor, ids: Tensor) -> dict[str, Tensor]:
    """The tensors to store of a table ``table @ mix.T``.

    Args:
        table: ``(V, r)`` float.
        mix: ``(D, r)`` float.
        ids: ``(n,)`` int64 tokens whose rows are stored; the others will be zero.

    Returns:
        Rows ``(n, r)`` int8, ids ``(n,)`` uint16 and the matrix in float16, which holds the scale of each channel.
    """
    rows = table.detach().float()[ids]
    scales = rows.abs().amax(dim=0).clamp(min=1e-8) / 127
    return {
        TOKEN_ROWS: (rows / scales).round().to(torch.int8),
        TOKEN_IDS: ids.to(torch.uint16),
        TOKEN_MIX: (mix.detach().float() * scales).to(torch.float16),
    }


def unpack_tokens(packed: Mapping[str, Tensor], vocab_size: int) -> dict[str, Tensor]:
    """The state dict in float32 with the full token table ``(vocab_size, D)``; tokens that are not stored get zeros.

    Raises:
        ValueError: rows or ids are missing, or an id lies beyond the vocabulary.
    """
    missing = [name for name in (TOKEN_ROWS, TOKEN_IDS) if name not in packed]
    if missing:
        raise ValueError(f"not a packed file: {', '.join(missing)} missing")
    ids = packed[TOKEN_IDS].long()
    if int(ids.max()) >= vocab_size:
        raise ValueError(f"the file names token {int(ids.max())}, but the model has a vocabulary of {vocab_size}")
    rows = packed[TOKEN_ROWS].float()
    if TOKEN_MIX in packed:
        rows = rows @ packed[TOKEN_MIX].float().T
    kept = (TOKEN_ROWS, TOKEN_IDS, TOKEN_MIX)
    state = {
        name: value.float() if value.is_floating_point() else value
        for name, value in packed.items()
        if name not in kept
    }
    state[TOKEN_TABLE] = torch.zeros(vocab_size, rows.shape[1]).index_copy_(0, ids, rows)
    return state
