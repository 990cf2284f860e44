"""Dense segmentation: an image is encoded once, then classified with any vocabulary."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ovperc.core.inference import inference
from ovperc.core.structures import DenseEmbeddings, GuideFeatures, SegmentationMap, TextBank
from ovperc.readout.base import Readout
from ovperc.refine.base import LabelRefiner, Refiner
from ovperc.text.classifier import StreamingClassifier, check_bank
from ovperc.text.logit_rules import LogitRule
from ovperc.text.streaming import Progress
from ovperc.tiling import Geometry, Stitcher, Tiler

if TYPE_CHECKING:
    from ovperc.backbones.guide import GuideTower
    from ovperc.backbones.loading import ClipModel

_TENSORS = tuple(entry.name for entry in dataclasses.fields(DenseEmbeddings))


@dataclass(frozen=True)
class ImageEmbeddings:
    """One image, ready for any words.

    Attributes:
        embeddings: of all ``T`` tiles of the image.
        stitcher: from the tiles' patch grids to the original size.
        fingerprint: of the encoder; banks of another one are refused.
        guidance: ``(3, h, w)`` float32, the resized and normalised image; present where a refiner asks for it.
        seen: the second look at the image that a label refiner takes.
    """

    embeddings: DenseEmbeddings
    stitcher: Stitcher
    fingerprint: str
    guidance: Tensor | None = None
    seen: Any = None

    @property
    def original_hw(self) -> tuple[int, int]:
        """Height and width of the image in pixels."""
        return self.stitcher.output_hw


@dataclass(frozen=True)
class _TiledImage:
    """An image cut up: ``pixels`` ``(1, 3, h, w)`` resized and normalised, ``tiles`` ``(T, 3, th, tw)``."""

    geometry: Geometry
    pixels: Tensor
    tiles: Tensor


class DenseSegmenter:
    """Tiler -> tower -> readout -> classifier; holds parts, no state.

    Args:
        clip: image tower, preprocessing and fingerprint; the text tower is not used here.
        readout: patch embeddings from the tower's taps.
        tiler: resize and tile rule.
        classifier: labels from embeddings and a text bank.
        logit_rule: changes scores by statistics of the image; None for plain cosines.
        refiner: smooths score maps by the image, or redraws the labels; None for none.
        guide: second tower, for affinities that take their weights from one.
        max_tiles: tiles per forward pass, which bounds memory; results agree up to rounding.
        resize: rule of :data:`ovperc.tiling.preprocess.RESIZE_RULES`.
    """

    def __init__(
        self,
        clip: ClipModel,
        readout: Readout,
        tiler: Tiler,
        classifier: StreamingClassifier,
        logit_rule: LogitRule | None = None,
        refiner: Refiner | LabelRefiner | None = None,
        guide: GuideTower | None = None,
        max_tiles: int = 16,
        resize: str = "opencv",
    ) -> None:
        if max_tiles < 1:
            raise ValueError(f"max_tiles must be at least 1; got {max_tiles}")
        self.clip = clip
        self.readout = readout
        self.tiler = tiler
        self.classifier = classifier
        self.logit_rule = logit_rule
        self.refiner = refiner
        self.guide = guide
        self.max_tiles = max_tiles
        self.resize = resize

    def encode(self, image: np.ndarray) -> ImageEmbeddings:
        """Everything that depends on the image only.

        Args:
            image: ``(H, W, 3)`` uint8 RGB, any size (:func:`ovperc.io.images.read_image` makes one).

        Raises:
            TypeError: the image is not a uint8 array.
            ValueError: the image has another shape, or no pixels.
        """
        return self.encode_batch([image])[0]

    @inference()
    def encode_batch(self, images: Sequence[np.ndarray]) -> list[ImageEmbeddings]:
        """Encodes images of any sizes; tiles of equal size share forward passes of up to ``max_tiles``.

        Args:
            images: as for :meth:`encode`.

        Returns:
            One entry per image, in order; each equals :meth:`encode` of that image up to rounding.
        """
        tiled = [self._cut(image) for image in images]
        groups: dict[tuple[int, ...], list[int]] = {}
        for index, entry in enumerate(tiled):
            groups.setdefault(tuple(entry.tiles.shape[-2:]), []).append(index)
        encoded: dict[int, ImageEmbeddings] = {}
        for members in groups.values():
            tiles = torch.cat([tiled[index].tiles for index in members])
            counts = [len(tiled[index].tiles) for index in members]
            parts = zip(tiles.split(self.max_tiles), self._describe(tiles, counts), strict=True)
            embeddings = _concatenate([self._embed(part, guide) for part, guide in parts])
            for index, part in zip(members, _split(embeddings, counts), strict=True):
                encoded[index] = self._pack(tiled[index], part, images[index])
        return [encoded[index] for index in range(len(tiled))]

    @inference()
    def segment(self, encoded: ImageEmbeddings, bank: TextBank, progress: Progress | None = None) -> SegmentationMap:
        """Labels and confidence at the original size.

        Args:
            encoded: from :meth:`encode`.
            bank: words embedded by the same model.
            progress: called with prompts done and prompts in all.

        Raises:
            ValueError: the bank was made by another encoder.
        """
        parts = self._classified(encoded, bank)
        coarse = self.classifier(*parts, **self._extras(encoded), progress=progress)
        if isinstance(self.refiner, LabelRefiner):
            return self._redraw(self.refiner, encoded, parts, coarse)
        return coarse

    @inference()
    def scores(self, encoded: ImageEmbeddings, bank: TextBank, *, raw: bool = False) -> Tensor:
        """Dense scores ``(C, H, W)`` float32, probabilities or (``raw``) cosines; made only on request.

        A label refiner does not change them.
        """
        return self.classifier.scores(*self._classified(encoded, bank), raw=raw, **self._extras(encoded))

    def _classified(self, encoded: ImageEmbeddings, bank: TextBank) -> tuple[DenseEmbeddings, TextBank, Stitcher]:
        patches = encoded.embeddings.patches
        check_bank(bank, encoded.fingerprint, patches.shape[1])
        bank = bank if bank.embeddings.device == patches.device else bank.to(patches.device)
        return encoded.embeddings, bank, encoded.stitcher

    def _redraw(
        self,
        refiner: LabelRefiner,
        encoded: ImageEmbeddings,
        parts: tuple[DenseEmbeddings, TextBank, Stitcher],
        coarse: SegmentationMap,
    ) -> SegmentationMap:
        """The label refiner's answer; scores are made for the classes of the coarse one only."""
        if encoded.seen is None:
            raise ValueError("the image was encoded without a look for the refiner; encode it with this segmenter")
        present = torch.unique(coarse.labels).long()
        scores = self.classifier.scores(*parts, **self._extras(encoded), classes=present)
        compact = torch.searchsorted(present, coarse.labels.long()).to(torch.int32)
        refined = refiner.redraw(encoded.seen, compact, scores)
        notes = {"refined_regions": refined.accepted, "asked_regions": refined.regions}
        if refined.accepted == 0:
            return dataclasses.replace(coarse, notes=notes)
        labels = present[refined.labels.long()].to(torch.int32)
        redrawn = refined.scores.sum(dim=0) > 0
        confidence = torch.where(redrawn, refined.scores.amax(dim=0), coarse.confidence).clamp(0.0, 1.0)
        return SegmentationMap(labels, confidence, notes)

    def _extras(self, encoded: ImageEmbeddings) -> dict[str, Any]:
        guidance = None
        if isinstance(self.refiner, LabelRefiner):
            return {"rule": self.logit_rule}
        if self.refiner is not None:
            if encoded.guidance is None:
                raise ValueError(
                    "the image was encoded without a guidance image for the refiner; encode it with this segmenter"
                )
            guidance = F.interpolate(encoded.guidance[None], encoded.original_hw, mode="bilinear", align_corners=False)[
                0
            ]
        return {"rule": self.logit_rule, "refiner": self.refiner, "guidance": guidance}

    def _cut(self, image: np.ndarray) -> _TiledImage:
        if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[-1] != 3:
            got = f"shape {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
            raise TypeError(f"image must be an array (H, W, 3) uint8 RGB; got {got}. Use ovperc.io.images.read_image")
        backbone, preprocess = self.clip.backbone, self.clip.preprocess
        geometry = self.tiler.plan(image.shape[:2], backbone.stride_px)
        pixels = preprocess.apply(image, geometry.resized_hw, self.resize, backbone.device)
        return _TiledImage(geometry, pixels, self.tiler.tiles(pixels, geometry))

    def _describe(self, tiles: Tensor, counts: Sequence[int]) -> Iterable[GuideFeatures | None]:
        """What the second tower says, one entry per forward pass; ``counts`` tiles of each image, in order."""
        parts = tiles.split(self.max_tiles)
        if self.guide is None:
            return [None] * len(parts)
        described = (self.guide.describe(part, self.clip.preprocess) for part in parts)
        return self.guide.share_means(described, counts)

    def _embed(self, tiles: Tensor, guide: GuideFeatures | None = None) -> DenseEmbeddings:
        """Embeddings of one forward pass of tiles ``(T, 3, th, tw)``."""
        backbone = self.clip.backbone
        rule = self.logit_rule
        wanted = {} if rule is None else {"with_keys": rule.needs_keys, "with_pooled": rule.needs_pooled}
        features = backbone.forward_dense(tiles, self.readout.taps(backbone, **wanted))
        return self.readout(backbone, features, guide, **wanted)

    def _pack(
        self, tiled: _TiledImage, embeddings: DenseEmbeddings, image: np.ndarray, look: Any = None
    ) -> ImageEmbeddings:
        """``look`` is what a label refiner would make of the image, where it is at hand."""
        stitcher = Stitcher(tiled.geometry, embeddings.grid_hw, embeddings.patches.device)
        if isinstance(self.refiner, LabelRefiner):
            look = self.refiner.embed(image) if look is None else look
            return ImageEmbeddings(embeddings, stitcher, self.clip.fingerprint, seen=look)
        guidance = None if self.refiner is None else tiled.pixels[0]
        return ImageEmbeddings(embeddings, stitcher, self.clip.fingerprint, guidance)


def _concatenate(parts: list[DenseEmbeddings]) -> DenseEmbeddings:
    """Tiles of several forward passes as one; all parts hold the same fields."""
    if len(parts) == 1:
        return parts[0]
    lists = {name: [getattr(part, name) for part in parts] for name in _TENSORS}
    joined: dict[str, Any] = {name: None if row[0] is None else torch.cat(row) for name, row in lists.items()}
    return DenseEmbeddings(**joined)


def _split(embeddings: DenseEmbeddings, counts: list[int]) -> list[DenseEmbeddings]:
    """Tiles of several images apart; copies, so that one image kept does not keep its batch."""
    if len(counts) == 1:
        return [embeddings]
    whole: dict[str, Any] = {name: getattr(embeddings, name) for name in _TENSORS}
    split = {name: None if tensor is None else tensor.split(counts) for name, tensor in whole.items()}
    rows: list[dict[str, Any]] = [
        {name: None if parts is None else parts[index].clone() for name, parts in split.items()}
        for index in range(len(counts))
    ]
    return [DenseEmbeddings(**row) for row in rows]
