"""Writes checkpoints in the layouts that others publish."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn


class _Node(nn.Module):
    """A module that exists to hold named tensors."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def save_torchscript(table: dict[str, Tensor], path: Path) -> None:
    """A TorchScript archive whose state dict is ``table``."""
    root = _Node()
    for name, value in table.items():
        *parents, leaf = name.split(".")
        node = root
        for parent in parents:
            if parent not in dict(node.named_children()):
                node.add_module(parent, _Node())
            node = dict(node.named_children())[parent]
        if value.is_floating_point():
            node.register_parameter(leaf, nn.Parameter(value.clone()))
        else:
            node.register_buffer(leaf, value.clone())
    torch.jit.script(root).save(str(path))


def save_openai_archive(model: nn.Module, path: Path) -> None:
    """OpenAI's form of an open_clip ``CLIP``: a TorchScript archive in half precision, with three scalars."""
    table = {name: value.half() if value.is_floating_point() else value for name, value in model.state_dict().items()}
    scalars = {
        "input_resolution": model.visual.image_size,
        "context_length": model.context_length,
        "vocab_size": model.vocab_size,
    }
    for name, value in scalars.items():
        table[name] = torch.tensor(value[0] if isinstance(value, tuple) else value)
    save_torchscript(table, path)
