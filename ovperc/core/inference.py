"""Inference that does not depend on the caller's torch settings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch


@contextmanager
def own_precision() -> Iterator[None]:
    """Computes in the precision of the weights: an autocast of the caller does not reach inside.

    Also a decorator.

    Raises:
        RuntimeError: torch's default dtype is not float32. It is one setting of the whole process, so that it cannot
            be changed here without changing it for other threads.
    """
    default = torch.get_default_dtype()
    if default != torch.float32:
        raise RuntimeError(
            f"ovperc needs torch's default dtype to be float32, and it is {str(default).removeprefix('torch.')}; call "
            "torch.set_default_dtype(torch.float32) before, and load with dtype=... to choose that of the weights"
        )
    with ExitStack() as stack:
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        yield


@contextmanager
def inference() -> Iterator[None]:
    """:func:`own_precision` without gradients; also a decorator."""
    with own_precision(), torch.inference_mode():
        yield
