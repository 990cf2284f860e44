"""Mixed precision on any device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.optim import OptimWrapper
from torch import nn

from ovperc.registry import OPTIM_WRAPPERS

DTYPES: dict[str, torch.dtype] = {"bfloat16": torch.bfloat16, "float16": torch.float16}


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(OptimWrapper):
    """Runs the forward pass under ``torch.autocast`` on the device of the model's parameters.

    mmengine's ``AmpOptimWrapper`` refuses to run without a GPU. Parameters stay float32; bfloat16 has float32's range,
    so no loss scaling is needed. For float16 on a GPU use mmengine's wrapper, which scales.

    Args:
        dtype: ``bfloat16`` or ``float16``.
        **settings: as for mmengine's ``OptimWrapper``.
    """

    def __init__(self, dtype: str = "bfloat16", **settings: Any) -> None:
        if dtype not in DTYPES:
            raise ValueError(f"dtype must be one of {', '.join(DTYPES)}; got {dtype!r}")
        super().__init__(**settings)
        self.dtype = DTYPES[dtype]

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocast around the forward pass, inside gradient accumulation's context."""
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, dtype=self.dtype):
            yield
