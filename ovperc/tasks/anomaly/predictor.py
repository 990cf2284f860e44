"""One object between a user and the parts: images and the name of a thing in, maps and decisions out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ovperc.backbones.base import DenseBackbone
from ovperc.io.images import expand_sources, read_image
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
    """Says where the images of one object are anomalous; immutable, every change is a new predictor.

    Attributes:
        backbone: image tower.
        preprocess: its normalisation.
        head: what scores patches.
        tiler: how images are shown to the tower; in whole patches, so that tiles merge on one grid.
        upsampler: from grids to maps.
        texts: makes the two vectors of an object; None for heads that read no words.
        info: what predictions say they were made with.
        method: its config.
        calibration: thresholds of the decision.
        max_tiles: tiles per forward pass, which bounds memory.
        remembered: digests of the images that it was fitted with.
        resolved: the method's settings and where each comes from.
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
        """Inspects one image or several; see :meth:`Predictor.predict`.

        Args:
            images: as for :meth:`Predictor.predict`.
            object_name: what they show, such as ``"metal nut"``; learned prompts and patch memory work without.
            **options: ``min_area_px``, below which regions are left out.

        Raises:
            ImageError: an image cannot be read.
            ValueError: a few-shot method that was not fitted with normal images, or an empty name.
        """
        return super().predict(images, object_name, **options)

    def query(self, words: str | AnomalyQuery = ANY_OBJECT, min_area_px: int = 1) -> AnomalyQuery:
        """The object's texts.

        Args:
            words: name of the object.
            min_area_px: smaller regions are left out.

        Raises:
            ValueError: a few-shot method that was not fitted with normal images, or a name that does not fit.
        """
        if isinstance(words, AnomalyQuery):
            return words
        return AnomalyQuery(words, self._texts(words), min_area_px)

    @torch.inference_mode()
    def encode_batch(self, images: Sequence[np.ndarray]) -> list[AnomalyFeatures]:
        """What the head reads of the tower, for each image; images of one tile size share forward passes."""
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
        """The map at the size of the image, the image score, and the decision where there is a threshold."""
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
        """Raw scores on the patch grid; maps are made from them with ``self.upsampler``.

        Args:
            images: ``(H, W, 3)`` uint8 RGB each, of any sizes.
            object_name: as for :meth:`predict`.

        Returns:
            One score per image, in order; each is the same whatever the others are, up to rounding.
        """
        texts = self._texts(object_name)
        return [self._score(encoded, texts) for encoded in self.encode_batch(images)]

    def scores(self, image: Any, object_name: str = ANY_OBJECT) -> Tensor:
        """The dense map of one image, ``(H, W)`` float32 at its own size; never stretched to its own range."""
        score = self.score([read_image(image)], object_name)[0]
        return torch.from_numpy(self.upsampler.upsample(score.grid, score.original_hw))

    def fit(
        self, normal_images: Any, object_name: str = ANY_OBJECT, *, fpr: float | None = None, folds: int = 8
    ) -> AnomalyPredictor:
        """A predictor that remembers normal images; the order in which they are given does not matter.

        Args:
            normal_images: flawless images, as for :meth:`predict`; few are enough.
            object_name: as for :meth:`predict`; used with ``fpr`` only.
            fpr: also choose thresholds at this false-positive rate. Each image is scored by a memory of the others
                (in up to ``folds`` groups), because an image that is remembered looks flawless by itself.
            folds: groups that are left out in turn.

        Returns:
            A new predictor, without the calibration of this one.

        Raises:
            ValueError: no images, or a head that learns nothing from normal images, or a single image with ``fpr``.
        """
        images = sorted_images(normal_images)
        fitted = dataclasses.replace(self._remember(images), calibration=Calibration())
        if fpr is None:
            return fitted
        if len(images) < 2:
            raise ValueError("choosing a threshold takes at least 2 normal images, one left out in turn; got 1")
        groups = min(max(2, folds), len(images))
        peaks, scores = [], []
        for group in range(groups):
            others = self._remember([image for index, image in enumerate(images) if index % groups != group])
            found = others._normal_scores(images[group::groups], object_name)
            scores += found[0]
            peaks += found[1]
        return dataclasses.replace(fitted, calibration=Calibration.from_normal(scores, peaks, fpr))

    def learn_normal(self, normal_images: Any, object_name: str = ANY_OBJECT, *, fpr: float = 0.05) -> AnomalyPredictor:
        """All that normal images can teach: few-shot heads :meth:`fit` them, the others :meth:`calibrate` only."""
        if type(self.head).fit is AnomalyHead.fit:
            return self.calibrate(normal_images, object_name, fpr=fpr)
        return self.fit(normal_images, object_name, fpr=fpr)

    def calibrate(self, normal_images: Any, object_name: str = ANY_OBJECT, *, fpr: float = 0.01) -> AnomalyPredictor:
        """A predictor that decides at a false-positive rate, by flawless images that it has not been fitted with.

        Args:
            normal_images: as for :meth:`fit`; ``1 / fpr - 1`` of them support the rate.
            object_name: as for :meth:`predict`.
            fpr: share of flawless images that may be called anomalous.

        Raises:
            ValueError: no images, or some that the predictor remembers.
        """
        images = sorted_images(normal_images)
        if self.remembered & {image_digest(image) for image in images}:
            raise ValueError(
                "some of these images were given to fit(), so they look flawless by themselves; use others, or "
                "fit(images, fpr=...), which leaves each out in turn"
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
        """A predictor that decides at the best F1 on labelled validation images; never give it test images.

        Args:
            images: as for :meth:`predict`.
            labels: whether each is anomalous.
            masks: ``(H, W)`` bool of each image, at its size; left out, there is no pixel threshold.
            object_name: as for :meth:`predict`.

        Raises:
            ValueError: one kind of image only, or a mask of another size than its image.
        """
        pixels = [source.load() for source in expand_sources(images)]
        scores = self.score(pixels, object_name)
        maps = [self.upsampler.upsample(score.grid, score.original_hw) for score in scores] if len(masks) else []
        calibration = Calibration.from_labelled([score.image_score for score in scores], labels, maps, masks)
        return dataclasses.replace(self, calibration=calibration)

    def with_thresholds(self, image: float | None = None, pixel: float | None = None) -> AnomalyPredictor:
        """A predictor that decides by thresholds of the user's own."""
        return dataclasses.replace(self, calibration=Calibration("given", image, pixel))

    def _texts(self, object_name: str) -> StateTexts | None:
        if self.head.needs_fit and not self.remembered:
            raise ValueError(
                f"{self.method.name} compares with normal images and has seen none; call fit(normal_images) first"
            )
        return None if self.texts is None else self.texts(object_name)

    def _plan(self, image: np.ndarray) -> Geometry:
        if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[-1] != 3 or image.dtype != np.uint8:
            got = f"{image.shape} {image.dtype}" if isinstance(image, np.ndarray) else type(image).__name__
            raise TypeError(f"image must be an array (H, W, 3) uint8 RGB; got {got}. Use ovperc.io.images.read_image")
        return self.tiler.plan(image.shape[:2], self.backbone.stride_px)

    def _tiles(self, image: np.ndarray, plan: Geometry) -> Tensor:
        pixels = self.preprocess.apply(image, plan.resized_hw, self.method.resize, self.backbone.device)
        return self.tiler.tiles(pixels, plan)

    @torch.inference_mode()
    def _score(self, encoded: AnomalyFeatures, texts: StateTexts | None) -> AnomalyScore:
        parts = [self.head.score(self.backbone, features, texts) for features in encoded.parts]
        grid, image = torch.cat([part.grid for part in parts]), torch.cat([part.image for part in parts])
        return self._merge(grid, image, encoded.plan)

    def _merge(self, grid: Tensor, image: Tensor, plan: Geometry) -> AnomalyScore:
        """Tiles of one image on one grid; ``(T, K, h, w)`` and ``(T,)``."""
        if plan.num_tiles > 1:
            height, width = grid.shape[-2:]
            canvas = splice(grid.flatten(2).transpose(1, 2), (height, width), plan, self.backbone.stride_px)
        else:
            canvas = grid[0]
        value = image.amax() if self.method.tile_score == "max" else image.mean()
        scores = canvas.float().cpu().numpy()
        return AnomalyScore(scores[0] if len(scores) == 1 else scores, float(value), plan.original_hw)

    @torch.inference_mode()
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
    """Images that share forward passes: as many as ``max_tiles`` tiles hold, at least one."""
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
