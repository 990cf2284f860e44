"""A segmenter and its text tower as ONNX models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper

from ovperc.export.builder import BOOL, FLOAT, INT32, INT64, OPSET, GraphBuilder, tensor_input
from ovperc.export.graph import ExportError, PatchEncoder, takes_one_image
from ovperc.export.map_ops import classify
from ovperc.export.pixel_ops import cut_windows, normalise, plan_axes, resize_bilinear
from ovperc.export.rule_ops import NAMED_BACKGROUND
from ovperc.export.splice_ops import embed_spliced
from ovperc.export.spliced_graph import GlobalStep, Projection, TokenEncoder
from ovperc.export.text_graph import TextGraph
from ovperc.export.tracing import trace_module, trace_windows
from ovperc.tasks.segmentation.spliced import SplicedSegmenter

if TYPE_CHECKING:
    from ovperc.backbones.text_tower import TextTower
    from ovperc.core.structures import TextBank
    from ovperc.tasks.segmentation.segmenter import DenseSegmenter
    from ovperc.tiling import Tiler

MAX_MODEL_BYTES = 2**31 - 2**20
Convert = Callable[[onnx.ModelProto], onnx.ModelProto]


@dataclass(frozen=True)
class Towers:
    """The traced parts of a segmenter, in any precision.

    Attributes:
        windows: ``windows (T, 3, h, w)`` to the outputs of the encoder; ``T`` is free.
        outputs: their names.
        project: of methods that splice windows: the part behind the splice.
        step: of these methods, SAM's average, where there is one.
        ratio: of these methods, cells of the windows' grid per patch.
    """

    windows: onnx.ModelProto
    outputs: tuple[str, ...] = ("embeddings",)
    project: onnx.ModelProto | None = None
    step: onnx.ModelProto | None = None
    ratio: int = 1

    def converted(self, convert: Convert | None) -> Towers:
        """The same towers in another precision."""
        if convert is None:
            return self
        parts = {name: getattr(self, name) for name in ("windows", "project", "step")}
        return replace(self, **{name: None if part is None else convert(part) for name, part in parts.items()})


def export_segmenter(
    segmenter: DenseSegmenter,
    size_hw: tuple[int, int] | None = None,
    bank: TextBank | None = None,
    convert_tower: Convert | None = None,
) -> onnx.ModelProto:
    """A segmenter as one graph: pixels, resize, windows, tower, readout, stitching and classification.

    Args:
        segmenter: in float32 on the CPU.
        size_hw: the one image size of the file; ``None`` for any size within the profile.
        bank: words that are baked in; ``text`` and ``owners`` are then no inputs.
        convert_tower: changes the precision of the traced towers before they are put in place.

    Returns:
        See :func:`assemble`.

    Raises:
        ExportError: the method has no exported form, or the file would be too large.
    """
    return assemble(segmenter, trace_towers(segmenter, size_hw).converted(convert_tower), size_hw, bank)


def assemble(
    segmenter: DenseSegmenter,
    towers: Towers,
    size_hw: tuple[int, int] | None = None,
    bank: TextBank | None = None,
) -> onnx.ModelProto:
    """Puts pixels before and words behind traced towers.

    Args:
        segmenter: its rules of resize, windows and normalisation.
        towers: from :func:`trace_towers` with the same size, in any precision.
        size_hw: as for :func:`export_segmenter`.
        bank: as for :func:`export_segmenter`.

    Returns:
        Inputs: ``image`` ``(B, H, W, 3)`` uint8 RGB (``B`` is 1 for methods that compare the windows of an image),
        ``text`` ``(Q, E)`` float32, ``owners`` ``(Q,)`` int64, ``logit_scale`` and ``background_threshold`` float32
        scalars, and where the method asks whether the words name a background, ``background_named`` bool. Outputs:
        ``labels`` ``(B, H, W)`` int32 and ``confidence`` ``(B, H, W)`` float32.
    """
    tiler, backbone = segmenter.tiler, segmenter.clip.backbone
    crop_hw, _ = window_sizes(tiler, backbone.stride_px, size_hw)
    whole = crop_hw is None
    graph = GraphBuilder()
    axes = plan_axes(graph, "image", tiler, backbone.stride_px, crop_hw)
    preprocess = segmenter.clip.preprocess
    pixels = normalise(graph, resize_bilinear(graph, "image", *axes), preprocess.mean, preprocess.std)
    answers = graph.inline(towers.windows, "encoder/", cut_windows(graph, pixels, *axes, whole=whole))
    tower = dict(zip(towers.outputs, answers, strict=True))
    if isinstance(segmenter, SplicedSegmenter):
        whole = True
        parts = (towers.project, towers.step)
        tower["embeddings"], axes = embed_spliced(graph, segmenter, tower["tokens"], axes, parts, towers.ratio)
    answer = classify(graph, tower, graph.size("image", 0), axes, tiler.pad == "symmetric", whole, segmenter.logit_rule)
    for made, name in zip(answer, ("labels", "confidence"), strict=True):
        graph.nodes.append(helper.make_node("Identity", [made], [name]))
    batch = 1 if takes_one_image(segmenter) else "batch"
    sides = (batch, *(size_hw or ("height", "width")))
    inputs = [("image", onnx.TensorProto.UINT8, (*sides, 3)), *_word_inputs(graph, backbone.embed_dim, bank)]
    if "foreground" in tower:
        inputs.append((NAMED_BACKGROUND, BOOL, ()))
    return finish_model(graph, "segment", inputs, [("labels", INT32, sides), ("confidence", FLOAT, sides)])


def _word_inputs(graph: GraphBuilder, embed_dim: int, bank: TextBank | None) -> list:
    """Inputs of the words; those of a bank become constants."""
    numbers = [("logit_scale", FLOAT, ()), ("background_threshold", FLOAT, ())]
    if bank is None:
        return [("text", FLOAT, ("queries", embed_dim)), ("owners", INT64, ("queries",)), *numbers]
    for name, value in (("text", bank.embeddings.float()), ("owners", bank.owners)):
        graph.initializers.append(numpy_helper.from_array(value.cpu().numpy(), name))
    return numbers


def finish_model(graph: GraphBuilder, name: str, inputs: list, outputs: list) -> onnx.ModelProto:
    """A graph as a model; inputs and outputs as ``(name, type, shape)``."""
    proto = helper.make_graph(
        graph.nodes,
        name,
        [tensor_input(*entry) for entry in inputs],
        [tensor_input(*entry) for entry in outputs],
        graph.initializers,
    )
    imports = {"": OPSET} | {function.domain: 1 for function in graph.functions}
    domains = {node.domain for node in graph.nodes} - {"", "ai.onnx"}
    imports |= dict.fromkeys(domains, 1)
    model = helper.make_model(
        proto,
        producer_name="ovperc",
        opset_imports=[helper.make_opsetid(domain, version) for domain, version in imports.items()],
        functions=graph.functions,
    )
    model.ir_version = 10
    if model.ByteSize() > MAX_MODEL_BYTES:
        raise ExportError(
            f"the model has {model.ByteSize() / 2**30:.1f} GiB, an ONNX file holds 2; use --precision fp16 or int8"
        )
    return model


def window_sizes(
    tiler: Tiler, patch_px: int, size_hw: tuple[int, int] | None
) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
    """Windows before padding (``None``: the whole image) and what the tower gets (``None``: any size)."""
    if size_hw is not None:
        geometry = tiler.plan(size_hw, patch_px)
        return (None if geometry.num_tiles == 1 else geometry.crop_hw), geometry.tile_hw
    crop = tiler.crop_px
    if not crop:
        return None, None
    padded = crop if tiler.pad == "none" else crop + -crop % (tiler.pad_multiple_px or patch_px)
    return (crop, crop), (padded, padded)


def trace_towers(segmenter: DenseSegmenter, size_hw: tuple[int, int] | None = None) -> Towers:
    """The parts of a segmenter that depend on the image only.

    Args:
        segmenter: in float32 on the CPU.
        size_hw: of the images; ``None`` for any, then methods without windows get free sides too.
    """
    _, tile_hw = window_sizes(segmenter.tiler, segmenter.clip.backbone.stride_px, size_hw)
    spliced = isinstance(segmenter, SplicedSegmenter)
    encoder = (TokenEncoder(segmenter, tile_hw) if spliced else PatchEncoder(segmenter)).eval()
    windows = trace_windows(encoder, tile_hw, segmenter.clip.preprocess.image_size_px)
    if not spliced:
        return Towers(windows, encoder.outputs)
    return Towers(windows, encoder.outputs, *_trace_whole(segmenter), encoder.ratio)


def _trace_whole(segmenter: SplicedSegmenter) -> tuple[onnx.ModelProto, onnx.ModelProto | None]:
    """What follows the splice: the projection, and SAM's average where there is one."""
    free, backbone = {0: torch.export.Dim.DYNAMIC}, segmenter.clip.backbone
    features = torch.zeros(6, backbone.width if backbone.block(-1).has_residual else backbone.embed_dim)
    project = trace_module(Projection(backbone).eval(), {"features": features}, (free,), ("embeddings",))
    if segmenter.aggregator is None:
        return project, None
    side = segmenter.aggregator.backbone.image_size_px
    example = {"canvas": features, "pixels": torch.zeros(1, 3, side, side), "valid": torch.arange(6)}
    return project, trace_module(GlobalStep(segmenter.aggregator).eval(), example, (free, None, free), ("mixed",))


def export_text(text: TextTower) -> onnx.ModelProto:
    """The text tower as ``tokens (N, L) int64 -> embeddings (N, E)``, unit rows."""
    free = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    return trace_module(
        TextGraph(text).eval(), {"tokens": torch.zeros(2, 9, dtype=torch.int64)}, (free,), ("embeddings",)
    )


def example_inputs(bank: TextBank, logit_scale: float) -> dict[str, np.ndarray]:
    """The inputs of a file beside the image, from a bank."""
    return {
        "text": bank.embeddings.float().cpu().numpy(),
        "owners": bank.owners.cpu().numpy(),
        "logit_scale": np.asarray(logit_scale, np.float32),
        "background_threshold": np.asarray(bank.background.threshold, np.float32),
        NAMED_BACKGROUND: np.asarray(bool(bank.background.words)),
    }
