"""Evaluation of anomaly methods on all categories of a data set.

Scores are stored on the patch grid and upsampled to maps when they are counted, so memory does not grow with the number
of images. Nothing is fitted on test labels, and scores are not rescaled.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from mmengine.dist import all_gather_object, get_rank, get_world_size
from PIL import Image

from ovperc.core.atomic import atomic_write
from ovperc.core.summary import RunSummary, plain
from ovperc.data.anomaly.records import AnomalyImages, AnomalySample, shot_images
from ovperc.data.benchmark import Benchmark
from ovperc.evaluation.anomaly_settings import AnomalyEvalSettings
from ovperc.evaluation.metrics.anomaly_counts import ScoredMap
from ovperc.evaluation.metrics.anomaly_report import CategoryScores, mean_scores, score_category
from ovperc.evaluation.reports.anomaly_table import COLUMNS, category_table
from ovperc.evaluation.store import PartStore, StoredResult
from ovperc.evaluation.task_evaluation import EvaluationInputs, EvaluationScores, Scorer, TaskEvaluation

if TYPE_CHECKING:
    from ovperc.tasks.anomaly.predictor import AnomalyPredictor
    from ovperc.tasks.anomaly.score import AnomalyScore


@dataclass(frozen=True)
class AnomalyEvaluation(TaskEvaluation):
    """A method on an anomaly data set.

    Attributes:
        images: the data set.
        predictor: the method, not fitted yet.
        protocol: evaluation settings.
        predictions: folder for anomaly maps, ``NAME.npy`` float32; None to discard them.
    """

    titles = COLUMNS
    headline = "pixel_AUROC"

    images: AnomalyImages
    predictor: AnomalyPredictor
    protocol: AnomalyEvalSettings
    predictions: Path | None = None

    @classmethod
    def method_overrides(cls, row: Benchmark, method: str, overrides: Mapping[str, Any]) -> dict[str, Any]:
        """Overrides without the evaluation settings (``eval.size_px=518``, ``shots=4``)."""
        return AnomalyEvalSettings.split(overrides)[1]

    @classmethod
    def of(cls, inputs: EvaluationInputs) -> AnomalyEvaluation:
        """A method with the protocol that the user's overrides set."""
        protocol = AnomalyEvalSettings.split(inputs.overrides)[0]
        protocol = dataclasses.replace(protocol, shots=protocol.shots_for(inputs.predictor))
        return cls(inputs.images, inputs.predictor, protocol, inputs.predictions)

    @property
    def decisive(self) -> dict[str, Any]:  # type: ignore[override]
        """The protocol."""
        return {"protocol": plain(asdict(self.protocol))}

    @property
    def batch_size(self) -> int:  # type: ignore[override]
        """Images scored together."""
        return self.protocol.batch

    def select(self, limit: int | None) -> list[int]:
        """All images, or about ``limit`` of them, spread evenly over all categories."""
        return spread(self.images, limit)

    def group_of(self, index: int) -> int:
        """Index of the image's category."""
        return self.images.categories.index(self.images.records[index].category)

    def fitted(self, category: str) -> AnomalyPredictor:
        """The predictor of a category, fitted with its normal images if needed."""
        if not self.protocol.shots:
            return self.predictor
        shots = shot_images(self.images, category, self.protocol.shots, self.protocol.shot_seed)
        return self.predictor.fit(shots, self.images.words[category])

    def scorer_of(self, group: int) -> Scorer:
        """Scores images of a category."""
        category = self.images.categories[group]
        predictor, words = self.fitted(category), self.images.words[category]

        def score(samples: Sequence[AnomalySample]) -> list[StoredResult]:
            answers = predictor.score([sample.image for sample in samples], words)
            return [self._stored(sample, answer) for sample, answer in zip(samples, answers, strict=True)]

        return score

    def _stored(self, sample: AnomalySample, answer: AnomalyScore) -> StoredResult:
        name = sample.record.name
        if sample.mask is not None and sample.mask.shape != sample.image.shape[:2]:
            raise ValueError(
                f"{name}: the mask is {sample.mask.shape}, the image {sample.image.shape[:2]}; the sizes must be equal"
            )
        if not (np.isfinite(answer.grid).all() and np.isfinite(answer.image_score)):
            raise ValueError(f"{name}: the method returned non-finite scores; check its weights")
        mask = {} if sample.mask is None else pack_mask(resize_mask(sample.mask, self.protocol.size_px))
        return StoredResult({"grid": answer.grid.astype(np.float32), **mask}, float(answer.image_score))

    def summarise(self, store: PartStore, indices: Sequence[int]) -> EvaluationScores:
        """Means over categories, with the metrics of each in ``details``."""
        categories = self.count(store, indices)
        details = {
            "per_category": {name: entry.figures for name, entry in categories.items()},
            "counts": {name: asdict(entry.counts) for name, entry in categories.items()},
            "notes": {name: entry.notes for name, entry in categories.items() if entry.notes},
        }
        settings = {"protocol": plain(asdict(self.protocol))}
        return EvaluationScores(mean_scores(categories.values()), details, settings, categories)

    def count(self, store: PartStore, indices: Sequence[int]) -> dict[str, CategoryScores]:
        """Metrics of every category with stored images; categories are distributed over processes."""
        by_category: dict[str, list[int]] = {name: [] for name in self.images.categories}
        for index in indices:
            by_category[self.images.records[index].category].append(index)
        names = [name for name, chosen in by_category.items() if chosen]
        own = {name: self._count(store, by_category[name]) for name in names[get_rank() :: get_world_size()]}
        merged = {name: scores for part in all_gather_object(own) for name, scores in part.items()}
        return {name: merged[name] for name in names}

    def _count(self, store: PartStore, indices: Sequence[int]) -> CategoryScores:
        records = [self.images.records[index] for index in indices]
        render = self.fitted(records[0].category).upsampler.upsample

        def maps() -> Iterator[ScoredMap]:
            for record, result in zip(records, store.results(indices), strict=True):
                mask = unpack_mask(result.arrays)
                if mask is not None:
                    scores = render(result.arrays["grid"], mask.shape)
                    yield ScoredMap(scores, mask if record.anomalous else None, record.name)

        return score_category(
            np.array([result.row for result in store.results(indices)], np.float64),
            np.array([record.anomalous for record in records]),
            maps,
            histogram=self.protocol.pixels == "histogram",
            legacy=self.protocol.legacy_pro,
            max_positives=self.protocol.max_positives,
        )

    def write_reports(
        self, work_dir: Path, summary: RunSummary, scores: EvaluationScores, store: PartStore, indices: Sequence[int]
    ) -> None:
        """Writes ``report.md`` with one row per category, and the maps if requested."""
        if self.predictions is not None:
            self.save_maps(self.predictions, store, indices)
        with atomic_write(work_dir / "report.md") as (temporary,):
            temporary.write_text(category_table(summary.settings, scores.counts), encoding="utf-8")

    def save_maps(self, folder: Path, store: PartStore, indices: Sequence[int]) -> None:
        """Writes maps as ``NAME.npy``, at evaluation size, or at image size without masks."""
        upsamplers: dict[str, Any] = {}
        for index, result in zip(indices, store.results(indices), strict=True):
            record, mask = self.images.records[index], unpack_mask(result.arrays)
            if record.category not in upsamplers:
                upsamplers[record.category] = self.fitted(record.category).upsampler
            size = self.images[index].image.shape[:2] if mask is None else mask.shape
            with atomic_write(folder / f"{record.name}.npy") as (temporary,):
                np.save(temporary, upsamplers[record.category].upsample(result.arrays["grid"], size))


def spread(images: AnomalyImages, limit: int | None) -> list[int]:
    """Indices of all images, or of about ``limit`` of them, spread evenly so that all categories are represented."""
    if limit is None or limit >= len(images):
        return list(range(len(images)))
    if limit < 1:
        raise ValueError(f"limit must be at least 1, or None for all images; got {limit}")
    return sorted(set(np.linspace(0, len(images) - 1, limit).round().astype(int).tolist()))


def resize_mask(mask: np.ndarray, size_px: int | None) -> np.ndarray:
    """Resizes a mask to evaluation size as published code does: bilinear with Pillow, then thresholded at one half.

    Args:
        mask: ``(H, W)`` bool.
        size_px: side of the square; None keeps the size.
    """
    if size_px is None or mask.shape == (size_px, size_px):
        return mask
    image = Image.fromarray(mask.astype(np.uint8) * 255).resize((size_px, size_px), Image.Resampling.BILINEAR)
    return np.asarray(image) / 255 > 0.5


def pack_mask(mask: np.ndarray) -> dict[str, np.ndarray]:
    """Packs a mask ``(H, W)`` bool into compressed bits, for the store."""
    packed = zlib.compress(np.packbits(mask).tobytes(), 1)
    return {"mask": np.frombuffer(packed, np.uint8), "mask_hw": np.array(mask.shape, np.int64)}


def unpack_mask(arrays: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """Unpacks a mask from :func:`pack_mask`; None if there is none."""
    if "mask" not in arrays:
        return None
    height, width = arrays["mask_hw"].tolist()
    bits = np.frombuffer(zlib.decompress(arrays["mask"].tobytes()), np.uint8)
    return np.unpackbits(bits, count=height * width).view(bool).reshape(height, width)
