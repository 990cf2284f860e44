"""The states of all random generators, taken and put back."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class RandomState:
    """Every generator that training draws from, on one process.

    Attributes:
        python: ``random.getstate()``.
        numpy: legacy generator: key ``(624,)`` int64, position, and the cached Gaussian with its flag.
        torch_cpu: ``(5056,)`` uint8.
        torch_cuda: state of the current device, or ``None`` on CPU.
    """

    python: tuple[Any, ...]
    numpy: tuple[Tensor, int, int, float]
    torch_cpu: Tensor
    torch_cuda: Tensor | None = None

    @classmethod
    def capture(cls, cuda: bool = True) -> RandomState:
        """The states as they are now; data workers leave CUDA out, as they may not touch it."""
        legacy: Any = np.random.get_state()  # noqa: NPY002 (the global generator is meant)
        _, key, position, has_gauss, gauss = legacy
        return cls(
            random.getstate(),
            (torch.from_numpy(key.astype(np.int64)), int(position), int(has_gauss), float(gauss)),
            torch.get_rng_state(),
            torch.cuda.get_rng_state() if cuda and torch.cuda.is_available() else None,
        )

    def restore(self) -> None:
        """Puts the states back."""
        random.setstate(self.python)
        key, position, has_gauss, gauss = self.numpy
        words = key.cpu().numpy().astype(np.uint32)
        np.random.set_state(("MT19937", words, position, has_gauss, gauss))  # noqa: NPY002
        torch.set_rng_state(self.torch_cpu.cpu())
        if self.torch_cuda is not None and torch.cuda.is_available():
            torch.cuda.set_rng_state(self.torch_cuda.cpu())

    def to_plain(self) -> dict[str, Any]:
        """Tensors and plain values, as stored in a checkpoint."""
        return {"python": self.python, "numpy": self.numpy, "torch_cpu": self.torch_cpu, "torch_cuda": self.torch_cuda}

    @classmethod
    def from_plain(cls, stored: Mapping[str, Any]) -> RandomState:
        """Reads what ``to_plain`` wrote."""
        return cls(stored["python"], tuple(stored["numpy"]), stored["torch_cpu"], stored["torch_cuda"])
