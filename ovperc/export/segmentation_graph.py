"""A segmenter as one ONNX graph: pixels and a text bank to labels and confidence."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import onnx
import torch
from onnx import helper, numpy_helper

from ovperc.export.builder import BOOL, FLOAT, INT32, INT64, GraphBuilder, finish_model
from ovperc.export.map_ops import classify
from ovperc.export.parts import GraphBuilders
from ovperc.export.pixel_ops import TILERS, AxisPlan, check_resize_op, cut_tiles, normalise, plan_axes, resize_pixels
from ovperc.export.rule_ops import NAMED_BACKGROUND, RULES
from ovperc.export.segmentation_towers import PatchEncoder
from ovperc.export.splice_ops import embed_spliced
from ovperc.export.spliced_towers import GlobalStep, Projection, TokenEncoder
from ovperc.export.tracing import ENCODER, Traced, trace_module, trace_tiles
from ovperc.tasks.segmentation.segmenter import DenseSegmenter
from ovperc.tasks.segmentation.spliced import SplicedSegmenter

if TYPE_CHECKING:
    from ovperc.core.structures import TextBank
    from ovperc.tiling import Tiler

Axes = tuple[AxisPlan, AxisPlan]
_PROJECT, _STEP = "project", "step"
REFINERS: GraphBuilders[Any] = GraphBuilders("refiner", "it works on full-size maps; pass refiner=None")
SEGMENTERS: GraphBuilders[type[SegmenterForm]] = GraphBuilders("segmenter", "use another method")


@dataclass(frozen=True)
class Towers(Traced):
    """The traced modules of a segmenter.

    Attributes:
        models: ``encoder``, tiles ``(T, 3, h, w)`` to ``outputs``, where ``T`` is free; of methods that splice tiles
            also ``project``, the part behind the splice, and ``step``, SAM's average, where there is one.
        outputs: names of what the encoder returns.
        ratio: of methods that splice tiles, cells of the tiles' grid per patch.
    """

    outputs: tuple[str, ...] = ("embeddings",)
    ratio: int = 1


class SegmenterForm(ABC):
    """How segmenters of a class are traced, and what follows their tower.

    Attributes:
        one_grid: tiles are merged on one grid before they are classified.
    """

    one_grid: bool

    @staticmethod
    @abstractmethod
    def trace(segmenter: Any, tile_hw: tuple[int, int] | None) -> Towers:
        """The modules that depend on the image only, for tiles of one size or (``None``) of any size."""

    @staticmethod
    @abstractmethod
    def embed(
        graph: GraphBuilder, segmenter: Any, towers: Towers, answers: dict[str, str], axes: Axes
    ) -> tuple[dict[str, str], Axes]:
        """Outputs of the encoder to those that :func:`classify` reads, and the plans of their axes."""


@SEGMENTERS.register(DenseSegmenter)
class TiledForm(SegmenterForm):
    """Tiles are classified, and their scores merged."""

    one_grid = False

    @staticmethod
    def trace(segmenter: DenseSegmenter, tile_hw: tuple[int, int] | None) -> Towers:
        """See :class:`PatchEncoder`."""
        encoder = PatchEncoder(segmenter).eval()
        model = trace_tiles(encoder, tile_hw, segmenter.clip.preprocess.image_size_px)
        return Towers({ENCODER: model}, encoder.outputs)

    @staticmethod
    def embed(
        graph: GraphBuilder, segmenter: DenseSegmenter, towers: Towers, answers: dict[str, str], axes: Axes
    ) -> tuple[dict[str, str], Axes]:
        """They are embeddings already."""
        return answers, axes


@SEGMENTERS.register(SplicedSegmenter)
class SplicedForm(SegmenterForm):
    """Features of tiles are merged before they are classified."""

    one_grid = True

    @staticmethod
    def trace(segmenter: SplicedSegmenter, tile_hw: tuple[int, int] | None) -> Towers:
        """See :class:`TokenEncoder`, :class:`Projection` and :class:`GlobalStep`."""
        encoder = TokenEncoder(segmenter, tile_hw).eval()
        free, backbone = {0: torch.export.Dim.DYNAMIC}, segmenter.clip.backbone
        models = {ENCODER: trace_tiles(encoder, tile_hw, segmenter.clip.preprocess.image_size_px)}
        features = torch.zeros(6, backbone.width if backbone.block(-1).has_residual else backbone.embed_dim)
        models[_PROJECT] = trace_module(Projection(backbone).eval(), {"features": features}, (free,), ("embeddings",))
        if segmenter.aggregator is not None:
            side = segmenter.aggregator.backbone.image_size_px
            example = {"canvas": features, "pixels": torch.zeros(1, 3, side, side), "valid": torch.arange(6)}
            step = GlobalStep(segmenter.aggregator).eval()
            models[_STEP] = trace_module(step, example, (free, None, free), ("mixed",))
        return Towers(models, encoder.outputs, encoder.ratio)

    @staticmethod
    def embed(
        graph: GraphBuilder, segmenter: SplicedSegmenter, towers: Towers, answers: dict[str, str], axes: Axes
    ) -> tuple[dict[str, str], Axes]:
        """See :func:`embed_spliced`."""
        parts = towers.models[_PROJECT], towers.models.get(_STEP)
        embeddings, axes = embed_spliced(graph, segmenter, answers["tokens"], axes, parts, towers.ratio)
        return {**answers, "embeddings": embeddings}, axes


def check_exportable(segmenter: DenseSegmenter) -> None:
    """Refuses segmenters with a part that has no form in the graph.

    Raises:
        ExportError: naming the part.
    """
    SEGMENTERS.find(segmenter)
    TILERS.find(segmenter.tiler)
    check_resize_op(segmenter.resize)
    if segmenter.logit_rule is not None:
        RULES.find(segmenter.logit_rule)
    if segmenter.refiner is not None:
        REFINERS.find(segmenter.refiner)


def trace_towers(segmenter: DenseSegmenter, size_hw: tuple[int, int] | None = None) -> Towers:
    """The parts of a segmenter that depend on the image only.

    Args:
        segmenter: in float32 on the CPU.
        size_hw: of the images; ``None`` for any, then methods without tiles get free sides too.

    Raises:
        ExportError: a part that has no form in the graph, or a tower that does not trace for any size.
    """
    check_exportable(segmenter)
    _, tile_hw = tile_sizes(segmenter.tiler, segmenter.clip.backbone.stride_px, size_hw)
    return SEGMENTERS.find(segmenter).trace(segmenter, tile_hw)


def assemble(
    segmenter: DenseSegmenter,
    towers: Towers,
    size_hw: tuple[int, int] | None = None,
    bank: TextBank | None = None,
) -> onnx.ModelProto:
    """Puts pixels before and the text bank behind traced towers.

    Args:
        segmenter: its rules of resize, tiles and normalisation.
        towers: from :func:`trace_towers` with the same size, in any precision.
        size_hw: the one image size of the file; ``None`` for any size that the input spec allows.
        bank: baked in; ``text`` and ``owners`` are then no inputs.

    Returns:
        Inputs: ``image`` ``(B, H, W, 3)`` uint8 RGB (``B`` is 1 for methods that compare the tiles of an image),
        ``text`` ``(Q, E)`` float32, ``owners`` ``(Q,)`` int64, ``logit_scale`` and ``background_threshold`` float32
        scalars, and for methods that read whether the vocabulary names a background, ``background_named`` bool.
        Outputs: ``labels`` ``(B, H, W)`` int32 and ``confidence`` ``(B, H, W)`` float32.
    """
    form, tiler, backbone = SEGMENTERS.find(segmenter), segmenter.tiler, segmenter.clip.backbone
    crop_hw, _ = tile_sizes(tiler, backbone.stride_px, size_hw)
    whole = crop_hw is None
    graph = GraphBuilder()
    axes = plan_axes(graph, "image", tiler, backbone.stride_px, crop_hw)
    preprocess = segmenter.clip.preprocess
    pixels = normalise(graph, resize_pixels(graph, "image", *axes, segmenter.resize), preprocess.mean, preprocess.std)
    found = graph.inline(towers.models[ENCODER], "encoder/", cut_tiles(graph, pixels, *axes, whole=whole))
    answers = dict(zip(towers.outputs, found, strict=True))
    answers, axes = form.embed(graph, segmenter, towers, answers, axes)
    batch, crop_padding = graph.size("image", 0), tiler.pad == "symmetric"
    maps = classify(graph, answers, batch, axes, crop_padding, whole or form.one_grid, segmenter.logit_rule)
    for made, name in zip(maps, ("labels", "confidence"), strict=True):
        graph.nodes.append(helper.make_node("Identity", [made], [name]))
    sides = (1 if _takes_one_image(segmenter) else "batch", *(size_hw or ("height", "width")))
    inputs = [("image", onnx.TensorProto.UINT8, (*sides, 3)), *_text_inputs(graph, backbone.embed_dim, bank)]
    if "foreground" in answers:
        inputs.append((NAMED_BACKGROUND, BOOL, ()))
    return finish_model(graph, "segment", inputs, [("labels", INT32, sides), ("confidence", FLOAT, sides)])


def tile_sizes(
    tiler: Tiler, patch_px: int, size_hw: tuple[int, int] | None
) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
    """Tiles before padding (``None``: the whole image is one) and what the tower gets (``None``: any size)."""
    if size_hw is not None:
        geometry = tiler.plan(size_hw, patch_px)
        return (None if geometry.num_tiles == 1 else geometry.crop_hw), geometry.tile_hw
    crop = tiler.crop_px
    if not crop:
        return None, None
    padded = crop if tiler.pad == "none" else crop + -crop % (tiler.pad_multiple_px or patch_px)
    return (crop, crop), (padded, padded)


def _takes_one_image(segmenter: DenseSegmenter) -> bool:
    """Whether tiles are compared across an image, so that the graph takes one image at a time."""
    over_image = segmenter.guide is not None and segmenter.guide.mean_over == "image"
    return over_image or SEGMENTERS.find(segmenter).one_grid


def _text_inputs(graph: GraphBuilder, embed_dim: int, bank: TextBank | None) -> list[tuple]:
    """Inputs of the vocabulary; the arrays of a bank become constants."""
    numbers = [("logit_scale", FLOAT, ()), ("background_threshold", FLOAT, ())]
    if bank is None:
        return [("text", FLOAT, ("queries", embed_dim)), ("owners", INT64, ("queries",)), *numbers]
    arrays = bank.numpy()
    for name, value in (("text", arrays.embeddings), ("owners", arrays.owners)):
        graph.initializers.append(numpy_helper.from_array(value, name))
    return numbers
