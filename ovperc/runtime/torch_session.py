"""Saved torch programs with the interface of an onnxruntime session; needs torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

_WORD_INPUTS = ("text", "owners", "logit_scale", "background_threshold", "background_named")


class _Program:
    """Feeds a callable that takes tensors by position.

    Args:
        call: the program.
        device: of its tensors.
    """

    def __init__(self, call: Callable[..., Tensor | tuple[Tensor, ...]], device: str) -> None:
        self._call = call
        self._device = device

    @torch.inference_mode()
    def run(self, outputs: Sequence[str] | None, feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Answers inputs by name, images one by one; ``outputs`` is there for the interface only."""
        tensors = {name: torch.from_numpy(np.array(value)).to(self._device) for name, value in feed.items()}
        if "image" not in tensors:
            return [self._call(tensors["tokens"]).cpu().numpy()]
        words = [tensors[name] for name in _WORD_INPUTS]
        answers = [self._call(image, *words) for image in tensors["image"].split(1)]
        return [torch.cat(parts).cpu().numpy() for parts in zip(*answers, strict=True)]


class TorchSession(_Program):
    """A ``torch.export`` program.

    Args:
        path: ``.pt2`` file.
        device: where it computes.
    """

    def __init__(self, path: Path, device: str = "cpu") -> None:
        program = torch.export.load(path)
        if device != "cpu":
            program = torch.export.passes.move_to_device_pass(program, device)
        super().__init__(program.module(), device)


class CompiledSession(_Program):
    """A program that AOTInductor compiled for the machine it was exported on.

    Args:
        path: ``.aot.pt2`` file; it holds machine code, so open none from others.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(torch._inductor.aoti_load_package(str(path)), "cpu")
