"""From the name of a method to a predictor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ovperc.core.inference import own_precision
from ovperc.core.naming import suggest
from ovperc.tasks.methods import MethodConfig, ResolvedMethod, read_method
from ovperc.tasks.table import DEFAULT_METHOD, TASKS
from ovperc.tasks.task import LoadOptions
from ovperc.text.vocabulary import BackgroundLike
from ovperc.weights.catalogue import get_entry, list_weights
from ovperc.weights.locate import locate

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load(
    name: str | Path | MethodConfig = DEFAULT_METHOD,
    weights: str | Path | None = None,
    arch: str | None = None,
    *,
    device: str | torch.device = "cpu",
    dtype: str | torch.dtype = "float32",
    background: BackgroundLike = None,
    as_published: bool = False,
    **overrides: Any,
) -> Any:
    """Loads a method on the weights of a dual encoder.

    Args:
        name: a method of :func:`ovperc.list_methods`, a path to a method config, or one that was read before.
        weights: a name of :func:`ovperc.list_weights`, an ``hf-hub:`` name, a checkpoint file, or
            ``"random"``; left out, the method's own (photo-mini where a convolutional tower serves), else clip-mini.
        arch: open_clip architecture, where the weights do not tell it.
        device: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, or ``"auto"`` for a GPU where there is one.
        dtype: of the towers' weights: ``"float32"``, ``"bfloat16"`` or ``"float16"``.
        background: policy for vocabularies that bring none of their own: None, a confidence threshold, words of an
            explicit background, or both.
        as_published: leave out what the tower's overlay (``configs/towers``) changes in the method.
        **overrides: fields of the method, or their parts by dotted key:
            ``load("sclip", templates="plain", **{"tiler.crop_px": 448})``.

    Returns:
        The predictor of the method's task: ``SegPredictor``, ``DetPredictor``, ``AnomalyPredictor``, ...

    Raises:
        FileNotFoundError: no such method, or weights that are not here; the message says how to get them.
        ValueError: an unknown name or an option of a wrong type; near matches are offered.
        RuntimeError: torch's default dtype is not float32.
    """
    if isinstance(name, MethodConfig) and overrides:
        raise ValueError("a config that was read has its overrides; pass them to read_method instead")
    config = name if isinstance(name, MethodConfig) else read_method(name, overrides)
    options = LoadOptions(_device(device), _dtype(dtype), weights, arch, background, as_published)
    with own_precision():
        return TASKS[config.task].load(config, options)


def resolve_method(
    name: str | Path,
    weights: str | Path | None = None,
    arch: str | None = None,
    overrides: Mapping[str, Any] | Sequence[str] | None = None,
    as_published: bool = False,
) -> ResolvedMethod:
    """The settings that :func:`load` would run a method with, and where each comes from; no weights are read.

    Arguments as for :func:`load`. A tower that only its file tells gets no overlay here.
    """
    config = read_method(name, overrides)
    published = config.on(None)
    if as_published:
        return published
    weights = published.method.weights if weights is None and arch is None else weights
    if isinstance(weights, str) and weights in list_weights():
        return config.on(get_entry(weights).arch or weights)
    return config.on(locate(arch, weights).arch)


def _device(device: str | torch.device) -> torch.device:
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device must be 'cpu', 'cuda', 'cuda:1' or 'auto'; got {device!r}") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {str(device)!r} needs a GPU, and torch finds none; use device='cpu' or 'auto'")
    return device


def _dtype(dtype: str | torch.dtype) -> torch.dtype:
    if isinstance(dtype, torch.dtype) and dtype in DTYPES.values():
        return dtype
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ValueError(f"unknown dtype {dtype!r}; {suggest(str(dtype), DTYPES)}")
    return DTYPES[dtype]
