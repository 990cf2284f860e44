"""Fused attention: PyTorch's own kernel, or xformers' where it is installed and the tensors are on CUDA."""

from __future__ import annotations

import importlib.util
import math

import torch
import torch.nn.functional as F
from torch import Tensor

BACKENDS: tuple[str, ...] = ("sdpa", "xformers")
_BIAS_ALIGNMENT = 8  # xformers reads rows of a bias in blocks of eight elements


def has_xformers() -> bool:
    """Whether xformers can be imported."""
    return importlib.util.find_spec("xformers") is not None


def check_backend(name: str) -> str:
    """Returns the name of a known backend.

    Raises:
        ValueError: an unknown name.
    """
    if name not in BACKENDS:
        raise ValueError(f"attention backend must be one of {', '.join(BACKENDS)}; got {name!r}")
    return name


def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None, *, backend: str = "sdpa") -> Tensor:
    """``softmax(query key^T / sqrt(d) + bias) value`` in one fused call.

    Args:
        query: ``(B, a, m, d)``.
        key: ``(B, a, n, d)``.
        value: ``(B, a, n, d_v)``.
        bias: added to the logits; broadcasts to ``(B, a, m, n)``, dtype of ``query``.
        backend: ``"xformers"`` is used where installed and on CUDA; anything else falls back to ``"sdpa"``.

    Returns:
        ``(B, a, m, d_v)``; both backends agree up to rounding.
    """
    if check_backend(backend) == "xformers" and query.is_cuda and has_xformers():
        return _attend_xformers(query, key, value, bias)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=bias)


def explicit_weights(query: Tensor, key: Tensor, bias: Tensor | None = None) -> Tensor:
    """The weights that ``attend`` applies, ``(B, a, m, n)``; softmax in float32."""
    logits = (query.float() @ key.float().transpose(-2, -1)) / math.sqrt(query.shape[-1])
    return torch.softmax(logits if bias is None else logits + bias.float(), dim=-1)


def _attend_xformers(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    from xformers.ops import memory_efficient_attention

    query, key, value = (x.transpose(1, 2) for x in (query, key, value))
    if bias is not None:
        batch, rows, heads, columns = query.shape[0], query.shape[1], query.shape[2], key.shape[1]
        padded = F.pad(bias, (0, -columns % _BIAS_ALIGNMENT))
        bias = padded.expand(batch, heads, rows, -1)[..., :columns]
    return memory_efficient_attention(query, key, value, attn_bias=bias).transpose(1, 2)
