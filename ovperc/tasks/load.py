"""From the name of a method to a predictor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ovperc.core.naming import suggest
from ovperc.tasks.methods import load_method
from ovperc.tasks.table import task_of
from ovperc.text.vocabulary import BackgroundLike

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load(
    name: str | Path = "maskclip",
    weights: str | Path | None = None,
    arch: str | None = None,
    *,
    device: str | torch.device = "cpu",
    dtype: str | torch.dtype = "float32",
    background: BackgroundLike = None,
    **overrides: Any,
) -> Any:
    """Loads a method on the weights of a dual encoder.

    Args:
        name: a method of :func:`ovperc.list_methods`, or a path to a method config.
        weights: a name of :func:`ovperc.list_weights`, an ``hf-hub:`` name, a checkpoint file, or
            ``"random"``; left out, the shipped clip-mini.
        arch: open_clip architecture, where the weights do not tell it.
        device: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, or ``"auto"`` for a GPU where there is one.
        dtype: of the towers' weights: ``"float32"``, ``"bfloat16"`` or ``"float16"``.
        background: policy for words that bring none of their own; see :meth:`Predictor.predict`.
        **overrides: fields of the method, or their parts by dotted key:
            ``load("sclip", templates="plain", **{"tiler.crop_px": 448})``.

    Returns:
        The predictor of the method's task: ``Predictor`` for segmentation, ``DetPredictor``, ``AnomalyPredictor``.

    Raises:
        FileNotFoundError: no such method, or weights that are not here; the message says how to get them.
        ValueError: an unknown name or an option of a wrong kind; near matches are offered.
    """
    method = load_method(name, overrides)
    asked = frozenset(key.split(".")[0] for key in overrides)
    return task_of(method).place("load")(
        method,
        asked,
        weights=weights,
        arch=arch,
        device=_device(device),
        dtype=_dtype(dtype),
        background=background,
    )


def _device(device: str | torch.device) -> torch.device:
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device must be 'cpu', 'cuda', 'cuda:1' or 'auto'; got {device!r}") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {str(device)!r} is asked for, but torch sees no GPU; use device='cpu' or 'auto'")
    return device


def _dtype(dtype: str | torch.dtype) -> torch.dtype:
    if dtype in DTYPES.values():
        return dtype
    if dtype not in DTYPES:
        raise ValueError(f"unknown dtype {dtype!r}; {suggest(str(dtype), DTYPES)}")
    return DTYPES[dtype]
