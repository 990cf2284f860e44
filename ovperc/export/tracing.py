"""Torch modules as ONNX models, with free sides that were checked to be free."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
import onnx
import torch

from ovperc.export.builder import OPSET
from ovperc.export.parts import ExportError

if TYPE_CHECKING:
    import onnxruntime as ort

    from ovperc.backbones.base import DenseBackbone

_FREE_SIDES_TOLERANCE = 1e-3
ENCODER = "encoder"
T = TypeVar("T", bound="Traced")


@dataclass(frozen=True)
class Traced:
    """The traced modules of a method, in any precision.

    Attributes:
        models: by name; ``encoder`` is the one that sees the pixels.
    """

    models: Mapping[str, onnx.ModelProto]

    def converted(self: T, convert: Callable[[onnx.ModelProto], onnx.ModelProto]) -> T:
        """The same modules in another precision."""
        return replace(self, models={name: convert(model) for name, model in self.models.items()})


def trace_module(
    module: torch.nn.Module, example: dict[str, torch.Tensor], dynamic: tuple, outputs: tuple[str, ...]
) -> onnx.ModelProto:
    """A module as a model, without what would differ between two traces: places in source files.

    Args:
        module: in evaluation mode, on the CPU.
        example: its inputs by name.
        dynamic: free sides of each input, as ``torch.export`` takes them.
        outputs: names of what it returns.
    """
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module,
            tuple(example.values()),
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes=dynamic,
            input_names=list(example),
            output_names=list(outputs),
            verbose=False,
        )
    model = program.model_proto
    for node in (*model.graph.node, *(node for function in model.functions for node in function.node)):
        del node.metadata_props[:]
        node.ClearField("doc_string")
    for entry in (model, model.graph, *model.graph.input, *model.graph.output, *model.graph.value_info):
        del entry.metadata_props[:]
    return model


class Tower(Protocol):
    """A module to be traced: tiles in, named outputs out."""

    backbone: DenseBackbone
    outputs: tuple[str, ...]

    def __call__(self, tiles: torch.Tensor, *more: torch.Tensor) -> tuple[torch.Tensor, ...]: ...


def trace_tiles(
    tower: Tower,
    tile_hw: tuple[int, int] | None,
    native_px: int,
    more: Mapping[str, torch.Tensor] = MappingProxyType({}),
    free: dict[int, Any] | None = None,
) -> onnx.ModelProto:
    """Traces a tower on tiles; their number is free.

    Args:
        tower: the module.
        tile_hw: size of the tiles; ``None`` for any size.
        native_px: image side that the tower was trained at.
        more: other inputs by name, after the tiles.
        free: sides of these that are free.

    Raises:
        ExportError: the trace does not serve other sizes than it was made at.
    """
    patch = tower.backbone.stride_px
    # Two tiles: a batch of one would be baked in. Sides that differ, differ from the native grid, and are no whole
    # number of patches: what holds for the example is taken to hold for all.
    native = native_px // patch
    sides = tile_hw or ((native + 2) * patch + patch // 2 + 1, (native + 3) * patch + patch // 2 - 1)
    dynamic = {0: torch.export.Dim.DYNAMIC}
    if tile_hw is None:
        dynamic |= {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    example = {"tiles": torch.zeros(2, 3, *sides), **more}
    shapes: tuple = (dynamic, (free,) * len(more)) if more else (dynamic,)
    model = trace_module(tower, example, shapes, tower.outputs)
    if tile_hw is None:
        _check_free_sides(tower, model, ((native * patch,) * 2, (native * patch + 1, (native + 1) * patch)), more)
    return model


def _check_free_sides(
    tower: Tower, model: onnx.ModelProto, sizes: Sequence[tuple[int, int]], more: Mapping[str, torch.Tensor]
) -> None:
    """Runs a trace at other sizes than it was made at: a tower may have fixed the size without a word.

    Raises:
        ExportError: the trace answers otherwise than the tower.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        fits = all(_answers_alike(tower, session, size, more) for size in sizes)
    except Exception:
        # onnxruntime has no common class for its errors; whatever it is, the trace does not serve other sizes.
        fits = False
    if not fits:
        raise ExportError("this tower cannot be traced for images of any size; pass --size HxW")


def _answers_alike(
    tower: Tower, session: ort.InferenceSession, size_hw: tuple[int, int], more: Mapping[str, torch.Tensor]
) -> bool:
    tiles = torch.randn(1, 3, *size_hw, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = [answer.numpy() for answer in tower(tiles, *more.values())]
    feed = {"tiles": tiles, **more}
    answers = session.run(None, {name: value.numpy() for name, value in feed.items()})
    pairs = list(zip(answers, expected, strict=True))
    if any(ours.shape != theirs.shape for ours, theirs in pairs):
        return False
    return all(
        np.abs(ours - theirs).max() < _FREE_SIDES_TOLERANCE * max(1, np.abs(theirs).max()) for ours, theirs in pairs
    )
