"""Predictor of anomaly methods."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ovperc.backbones.base import DenseBackbone
from ovperc.core.inference import inference
from ovperc.io.image_sources import expand_sources
from ovperc.io.images import read_image
from ovperc.tasks.anomaly.calibration import Calibration
from ovperc.tasks.anomaly.encoded import AnomalyFeatures, AnomalyQuery
from ovperc.tasks.anomaly.head import AnomalyHead, HeadFeatures
from ovperc.tasks.anomaly.map_upsampler import MapUpsampler
from ovperc.tasks.anomaly.method import AnomalyMethod
from ovperc.tasks.anomaly.normal_images import augmented, image_digest, sorted_images
from ovperc.tasks.anomaly.prediction import AnomalyPrediction
from ovperc.tasks.anomaly.regions import find_regions
from ovperc.tasks.anomaly.score import AnomalyScore
from ovperc.tasks.anomaly.state_texts import StateTexts, StateTextSource
from ovperc.tasks.predictor import Predictor, PredictorInfo
from ovperc.tiling import Geometry, Preprocess, Tiler
from ovperc.tiling.splice import splice

if TYPE_CHECKING:
    from ovperc.tasks.methods import ResolvedMethod

ANY_OBJECT = "object"


@dataclass(frozen=True, eq=False)
class AnomalyPredictor(Predictor):
    """Localizes anomalies in images of an object. Immutable; every change returns a new predictor.

    Attributes:
        backbone: image tower.
        preprocess: normalisation of its input.
        head: anomaly head that scores patches.
        tiler: splits images into tiles aligned to patches, so that they merge on one grid.
        upsampler: upsamples patch scores to maps.
        texts: source of text embeddings; None for heads that use no text.
        info: method and weights recorded in predictions.
        method: configuration of the method.
        calibration: decision thresholds.
        max_tiles: maximum tiles per forward pass, which bounds memory.
        remembered: digests of the normal images it was fitted with.
        resolved: the method's settings and their origin.
    """

    backbone: DenseBackbone
    preprocess: Preprocess
    head: AnomalyHead
    tiler: Tiler
    upsampler: MapUpsampler
    texts: StateTextSource | None
    info: PredictorInfo
    method: AnomalyMethod
    calibration: Calibration = field(default_factory=Calibration)
    max_tiles: int = 8
    remembered: frozenset[bytes] = frozenset()
    resolved: ResolvedMethod | None = None

    def predict(self, images: Any, object_name: str = ANY_OBJECT, **options: Any) -> Any:
        """Predicts one image or several; see :meth:`Predictor.predict`.

        Args:
            images: as for :meth:`Predictor.predict`.
            object_name: name of the object, such as ``"metal nut"``; optional for learned prompts and patch memory.
            **options: ``min_area_px``, the minimum area of a region.

        Raises:
            ImageError: an image cannot be read.
            ValueError: a few-shot method has not been fitted, or the name is empty.
        """
        return super().predict(images, object_name, **options)

    def query(self, words: str | AnomalyQuery = ANY_OBJECT, min_area_px: int = 1) -> AnomalyQuery:
        """Encodes the query for an object.

        Args:
            words: name of the object.
            min_area_px: minimum area of a region.

        Raises:
            ValueError: a few-shot method has not been fitted, or the name is invalid.
        """
        if isinstance(words, AnomalyQuery):
            return words
        return AnomalyQuery(words, self._texts(words), min_area_px)

    @inference()
    def encode_batch(self, images: Sequence[np.ndarray]) -> list[AnomalyFeatures]:
        """Encodes images; images with equal tile sizes share forward passes."""
        plans = [self._plan(image) for image in images]
        groups: dict[tuple[int, int], list[int]] = {}
        for index, plan in enumerate(plans):
            groups.setdefault(plan.tile_hw, []).append(index)
        found: dict[int, AnomalyFeatures] = {}
        for members in groups.values():
            for batch in _batches(members, plans, self.max_tiles):
                tiles = torch.cat([self._tiles(images[index], plans[index]) for index in batch])
                parts = [self.head.read(self.backbone, part) for part in tiles.split(self.max_tiles)]
                if len(batch) > 1:
                    parts = parts[0].split([plans[index].num_tiles for index in batch])
                    found |= {
                        index: AnomalyFeatures((part,), plans[index]) for index, part in zip(batch, parts, strict=True)
                    }
                else:
                    found[batch[0]] = AnomalyFeatures(tuple(parts), plans[batch[0]])
        return [found[index] for index in range(len(plans))]

    def answer(self, encoded: AnomalyFeatures, query: AnomalyQuery, source: str | None = None) -> AnomalyPrediction:
        """Predicts an encoded image: its map, its score and, with a calibration, the decision."""
        score = self._score(encoded, query.texts)
        scores = self.upsampler.upsample(score.grid, score.original_hw)
        plan, threshold = encoded.plan, self.calibration.pixel_threshold
        sizes = {"resized_hw": plan.resized_hw, "tile_hw": plan.crop_hw, "tiles": plan.num_tiles}
        return AnomalyPrediction(
            map=scores,
            image_score=score.image_score,
            object_name=query.object_name,
            calibration=self.calibration,
            regions=find_regions(scores, threshold, query.min_area_px),
            scale=(0.0, 1.0) if self.head.bounded or not threshold else (0.0, 2 * threshold),
            source=source,
            method=self.info.method,
            metadata=self.metadata(**sizes, remembered_images=len(self.remembered)),
        )

    def score(self, images: Sequence[np.ndarray], object_name: str = ANY_OBJECT) -> list[AnomalyScore]:
        """Raw scores on the patch grid; ``self.upsampler`` turns them into maps.

        Args:
            images: ``(H, W, 3)`` uint8 RGB each, of any size.
            object_name: as for :meth:`predict`.

        Returns:
            One score per image, in order; independent of the other images up to rounding.
        """
        texts = self._texts(object_name)
        return [self._score(encoded, texts) for encoded in self.encode_batch(images)]

    def scores(self, image: Any, object_name: str = ANY_OBJECT) -> Tensor:
        """The anomaly map of an image, ``(H, W)`` float32 at image size, not normalised per image."""
        score = self.score([read_image(image)], object_name)[0]
        return torch.from_numpy(self.upsampler.upsample(score.grid, score.original_hw))

    def fit(
        self, normal_images: Any, object_name: str = ANY_OBJECT, *, fpr: float | None = None, folds: int = 8
    ) -> AnomalyPredictor:
        """Returns a predictor fitted with normal images, whose order does not matter.

        Args:
            normal_images: normal images, as for :meth:`predict`; a few are enough.
            object_name: as for :meth:`predict`; only used with ``fpr``.
            fpr: also choose thresholds at this false-positive rate, by cross-validation over ``folds`` groups, because
                an image in the memory always scores as normal.
            folds: maximum number of cross-validation folds.

        Returns:
            A new predictor without this one's calibration.

        Raises:
            ValueError: there are no images, the head cannot be fitted, or there is a single image with ``fpr``.
        """
        images = sorted_images(normal_images)
        fitted = dataclasses.replace(self._remember(images), calibration=Calibration())
        if fpr is None:
            return fitted
        if len(images) < 2:
            raise ValueError("choosing a threshold by cross-validation needs at least 2 normal images; got 1")
        groups = min(max(2, folds), len(images))
        peaks, scores = [], []
        for group in range(groups):
            others = self._remember([image for index, image in enumerate(images) if index % groups != group])
            found = others._normal_scores(images[group::groups], object_name)
            scores += found[0]
            peaks += found[1]
        return dataclasses.replace(fitted, calibration=Calibration.from_normal(scores, peaks, fpr))

    def learn_normal(self, normal_images: Any, object_name: str = ANY_OBJECT, *, fpr: float = 0.05) -> AnomalyPredictor:
        """Fits few-shot heads with normal images; other heads are only calibrated."""
        if type(self.head).fit is AnomalyHead.fit:
            return self.calibrate(normal_images, object_name, fpr=fpr)
        return self.fit(normal_images, object_name, fpr=fpr)

    def calibrate(self, normal_images: Any, object_name: str = ANY_OBJECT, *, fpr: float = 0.01) -> AnomalyPredictor:
        """Returns a predictor with thresholds at a false-positive rate, from normal images not used in :meth:`fit`.

        Args:
            normal_images: as for :meth:`fit`; at least ``1 / fpr - 1`` for the rate to hold.
            object_name: as for :meth:`predict`.
            fpr: accepted false-positive rate on normal images.

        Raises:
            ValueError: there are no images, or some were used in :meth:`fit`.
        """
        images = sorted_images(normal_images)
        if self.remembered & {image_digest(image) for image in images}:
            raise ValueError(
                "some of these images were used in fit(), so they score as normal by construction; use others, or "
                "fit(images, fpr=...), which cross-validates"
            )
        return dataclasses.replace(
            self, calibration=Calibration.from_normal(*self._normal_scores(images, object_name), fpr)
        )

    def calibrate_labelled(
        self,
        images: Any,
        labels: Sequence[bool],
        masks: Sequence[np.ndarray] = (),
        object_name: str = ANY_OBJECT,
    ) -> AnomalyPredictor:
        """Returns a predictor with thresholds of the best F1 on labelled validation images (never the test images).

        Args:
            images: as for :meth:`predict`.
            labels: whether each is anomalous.
            masks: ``(H, W)`` bool per image, at image size; without them there is no pixel threshold.
            object_name: as for :meth:`predict`.

        Raises:
            ValueError: only one class is present, or a mask has another size than its image.
        """
        pixels = [source.load() for source in expand_sources(images)]
        scores = self.score(pixels, object_name)
        maps = [self.upsampler.upsample(score.grid, score.original_hw) for score in scores] if len(masks) else []
        calibration = Calibration.from_labelled([score.image_score for score in scores], labels, maps, masks)
        return dataclasses.replace(self, calibration=calibration)

    def with_thresholds(self, image: float | None = None, pixel: float | None = None) -> AnomalyPredictor:
        """Returns a predictor with user-defined thresholds."""
        return dataclasses.replace(self, calibration=Calibration("given", image, pixel))

    def _texts(self, object_name: str) -> StateTexts | None:
        if self.head.needs_fit and not self.remembered:
            raise ValueError(f"{self.method.name} needs normal images; call fit(normal_images) first")
        return None if self.texts is None else self.texts(object_name)

    def _plan(self, image: np.ndarray) -> Geometry:
        if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[-1] != 3 or image.dtype != np.uint8:
            got = f"{image.shape} {image.dtype}" if isinstance(image, np.ndarray) else type(image).__name__
            raise TypeError(f"image must be an array (H, W, 3) uint8 RGB; got {got}. Use ovperc.io.images.read_image")
        return self.tiler.plan(image.shape[:2], self.backbone.stride_px)

    def _tiles(self, image: np.ndarray, plan: Geometry) -> Tensor:
        pixels = self.preprocess.apply(image, plan.resized_hw, self.method.resize, self.backbone.device)
        return self.tiler.tiles(pixels, plan)

    @inference()
    def _score(self, encoded: AnomalyFeatures, texts: StateTexts | None) -> AnomalyScore:
        parts = [self.head.score(self.backbone, features, texts) for features in encoded.parts]
        grid, image = torch.cat([part.grid for part in parts]), torch.cat([part.image for part in parts])
        return self._merge(grid, image, encoded.plan)

    def _merge(self, grid: Tensor, image: Tensor, plan: Geometry) -> AnomalyScore:
        """Merges the tiles of an image; ``(T, K, h, w)`` and ``(T,)``."""
        if plan.num_tiles > 1:
            height, width = grid.shape[-2:]
            canvas = splice(grid.flatten(2).transpose(1, 2), (height, width), plan, self.backbone.stride_px)
        else:
            canvas = grid[0]
        value = image.amax() if self.method.tile_score == "max" else image.mean()
        scores = canvas.float().cpu().numpy()
        return AnomalyScore(scores[0] if len(scores) == 1 else scores, float(value), plan.original_hw)

    @inference()
    def _remember(self, images: Sequence[np.ndarray]) -> AnomalyPredictor:
        head = self.head.fit(self.backbone, self._normal_features(images))
        upsampler = dataclasses.replace(self.upsampler, combine=head.combine)
        remembered = frozenset(image_digest(image) for image in images)
        return dataclasses.replace(self, head=head, upsampler=upsampler, remembered=remembered)

    def _normal_features(self, images: Sequence[np.ndarray]) -> Iterator[HeadFeatures]:
        for image in images:
            for copy in (image, *(augmented(image, name) for name in self.method.augment)):
                for part in self._tiles(copy, self._plan(copy)).split(self.max_tiles):
                    yield self.head.read(self.backbone, part)

    def _normal_scores(self, images: Sequence[np.ndarray], object_name: str) -> tuple[list[float], list[float]]:
        scores = self.score(images, object_name)
        peaks = [float(self.upsampler.upsample(score.grid, score.original_hw).max()) for score in scores]
        return [score.image_score for score in scores], peaks


def _batches(members: Sequence[int], plans: Sequence[Geometry], max_tiles: int) -> Iterator[list[int]]:
    """Groups images into forward passes of at most ``max_tiles`` tiles, at least one image each."""
    batch: list[int] = []
    tiles = 0
    for index in members:
        if batch and tiles + plans[index].num_tiles > max_tiles:
            yield batch
            batch, tiles = [], 0
        batch.append(index)
        tiles += plans[index].num_tiles
    if batch:
        yield batch
