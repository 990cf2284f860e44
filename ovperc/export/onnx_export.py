"""A segmenter and its text tower as ONNX models."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper

from ovperc.export.builder import FLOAT, INT32, INT64, OPSET, GraphBuilder, tensor_input
from ovperc.export.graph import ExportError, PatchEncoder, TextGraph
from ovperc.export.map_ops import classify
from ovperc.export.pixel_ops import cut_windows, normalise, plan_axes, resize_bilinear

if TYPE_CHECKING:
    from ovperc.backbones.text_tower import TextTower
    from ovperc.structures import TextBank
    from ovperc.tasks.segmentation import DenseSegmenter

MAX_MODEL_BYTES = 2**31 - 2**20
_FREE_SIDES_TOLERANCE = 1e-3
Convert = Callable[[onnx.ModelProto], onnx.ModelProto]


def export_segmenter(
    segmenter: DenseSegmenter,
    size_hw: tuple[int, int] | None = None,
    bank: TextBank | None = None,
    convert_encoder: Convert | None = None,
) -> onnx.ModelProto:
    """A segmenter as one graph: pixels, resize, windows, tower, readout, stitching and classification.

    Args:
        segmenter: in float32 on the CPU.
        size_hw: the one image size of the file; ``None`` for any size within the profile.
        bank: words that are baked in; ``text`` and ``owners`` are then no inputs.
        convert_encoder: changes the precision of the traced tower before it is put in place.

    Returns:
        See :func:`assemble`.

    Raises:
        ExportError: the method has no exported form, or the file would be too large.
    """
    encoder = trace_encoder(segmenter, size_hw)
    return assemble(segmenter, encoder if convert_encoder is None else convert_encoder(encoder), size_hw, bank)


def assemble(
    segmenter: DenseSegmenter,
    encoder: onnx.ModelProto,
    size_hw: tuple[int, int] | None = None,
    bank: TextBank | None = None,
) -> onnx.ModelProto:
    """Puts pixels before and words behind a traced tower.

    Args:
        segmenter: its rules of resize, windows and normalisation.
        encoder: from :func:`trace_encoder` with the same size, in any precision.
        size_hw: as for :func:`export_segmenter`.
        bank: as for :func:`export_segmenter`.

    Returns:
        Inputs: ``image`` ``(B, H, W, 3)`` uint8 RGB, ``text`` ``(Q, E)`` float32, ``owners`` ``(Q,)`` int64,
        ``logit_scale`` and ``background_threshold`` float32 scalars. Outputs: ``labels`` ``(B, H, W)`` int32 and
        ``confidence`` ``(B, H, W)`` float32.
    """
    tiler, backbone = segmenter.tiler, segmenter.clip.backbone
    crop_hw, _ = _window_sizes(segmenter, size_hw)
    whole = crop_hw is None
    graph = GraphBuilder()
    axes = plan_axes(graph, "image", tiler, backbone.stride_px, crop_hw)
    preprocess = segmenter.clip.preprocess
    pixels = normalise(graph, resize_bilinear(graph, "image", *axes), preprocess.mean, preprocess.std)
    (embeddings,) = graph.inline(encoder, "encoder/", cut_windows(graph, pixels, *axes, whole=whole))
    answer = classify(graph, embeddings, graph.size("image", 0), axes, tiler.pad == "symmetric", whole)
    for made, name in zip(answer, ("labels", "confidence"), strict=True):
        graph.nodes.append(helper.make_node("Identity", [made], [name]))
    sides = size_hw or ("height", "width")
    inputs = [("image", onnx.TensorProto.UINT8, ("batch", *sides, 3))]
    if bank is None:
        inputs += [("text", FLOAT, ("queries", backbone.embed_dim)), ("owners", INT64, ("queries",))]
    else:
        for name, value in (("text", bank.embeddings.float()), ("owners", bank.owners)):
            graph.initializers.append(numpy_helper.from_array(value.cpu().numpy(), name))
    inputs += [("logit_scale", FLOAT, ()), ("background_threshold", FLOAT, ())]
    outputs = [("labels", INT32, ("batch", *sides)), ("confidence", FLOAT, ("batch", *sides))]
    return _model(graph, "segment", inputs, outputs)


def _model(graph: GraphBuilder, name: str, inputs: list, outputs: list) -> onnx.ModelProto:
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


def _window_sizes(
    segmenter: DenseSegmenter, size_hw: tuple[int, int] | None
) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
    """Windows before padding (``None``: the whole image) and what the tower gets (``None``: any size)."""
    tiler, patch_px = segmenter.tiler, segmenter.clip.backbone.stride_px
    if size_hw is not None:
        geometry = tiler.plan(size_hw, patch_px)
        return (None if geometry.num_tiles == 1 else geometry.crop_hw), geometry.tile_hw
    crop = tiler.crop_px
    if not crop:
        return None, None
    padded = crop if tiler.pad == "none" else crop + -crop % (tiler.pad_multiple_px or patch_px)
    return (crop, crop), (padded, padded)


def trace_encoder(segmenter: DenseSegmenter, size_hw: tuple[int, int] | None = None) -> onnx.ModelProto:
    """The tower and readout as ``windows (T, 3, h, w) -> embeddings (T, E, grid h, grid w)``; ``T`` is free.

    Args:
        segmenter: in float32 on the CPU.
        size_hw: of the images; ``None`` for any, then methods without windows get free sides too.
    """
    encoder = PatchEncoder(segmenter).eval()
    _, tile_hw = _window_sizes(segmenter, size_hw)
    patch = encoder.backbone.stride_px
    # Two windows: a batch of one would be baked in. Sides that differ, and differ from the native grid.
    native = segmenter.clip.preprocess.image_size_px // patch
    sides = tile_hw or ((native + 2) * patch, (native + 3) * patch)
    dynamic = {0: torch.export.Dim.DYNAMIC}
    if tile_hw is None:
        dynamic |= {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    model = _trace(encoder, torch.zeros(2, 3, *sides), dynamic, "windows", "embeddings")
    if tile_hw is None:
        _check_free_sides(encoder, model, (native * patch, (native + 1) * patch))
    return model


def _check_free_sides(encoder: PatchEncoder, model: onnx.ModelProto, sides: tuple[int, int]) -> None:
    """Runs a trace at another size than it was made at: a tower may have fixed the size without a word.

    Raises:
        ExportError: the trace answers otherwise than the tower.
    """
    import onnxruntime as ort

    windows = torch.randn(1, 3, *sides, generator=torch.Generator().manual_seed(0))
    options = ort.SessionOptions()
    options.log_severity_level = 4
    with torch.no_grad():
        expected = encoder(windows).numpy()
    try:
        session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        (answer,) = session.run(None, {"windows": windows.numpy()})
        fits = answer.shape == expected.shape and np.abs(answer - expected).max() < _FREE_SIDES_TOLERANCE
    except Exception:
        # onnxruntime has no common class for its errors; whatever it is, the trace does not serve other sizes.
        fits = False
    if not fits:
        raise ExportError("this tower cannot be traced for images of any size; pass --size HxW")


def export_text(text: TextTower) -> onnx.ModelProto:
    """The text tower as ``tokens (N, L) int64 -> embeddings (N, E)``, unit rows."""
    graph = TextGraph(text).eval()
    example = torch.zeros(2, 9, dtype=torch.int64)
    dynamic = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    return _trace(graph, example, dynamic, "tokens", "embeddings")


def _trace(module: torch.nn.Module, example: torch.Tensor, dynamic: dict, name: str, result: str) -> onnx.ModelProto:
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes=(dynamic,),
            input_names=[name],
            output_names=[result],
            verbose=False,
        )
    return program.model_proto


def example_inputs(bank: TextBank, logit_scale: float) -> dict[str, np.ndarray]:
    """The inputs of a file beside the image, from a bank."""
    return {
        "text": bank.embeddings.float().cpu().numpy(),
        "owners": bank.owners.cpu().numpy(),
        "logit_scale": np.asarray(logit_scale, np.float32),
        "background_threshold": np.asarray(bank.background.threshold, np.float32),
    }
