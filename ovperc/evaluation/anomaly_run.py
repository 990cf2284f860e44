"""One pass of an anomaly method over a set: scored category by category, stored as grids, counted as maps."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from mmengine.dist import all_gather_object, barrier, get_rank, get_world_size, is_main_process

from ovperc.core.atomic import atomic_write
from ovperc.core.naming import suggest
from ovperc.core.progress import progress_bar
from ovperc.data.anomaly.records import AnomalyImages, AnomalySample, shot_images
from ovperc.evaluation.grid_store import GridStore, StoredScore, resize_mask
from ovperc.evaluation.metrics.anomaly_counts import MAX_POSITIVES, ScoredMap
from ovperc.evaluation.metrics.anomaly_report import CategoryScores, score_category
from ovperc.tasks.anomaly.score import AnomalyScore

if TYPE_CHECKING:
    from ovperc.tasks.anomaly.predictor import AnomalyPredictor

PREFIX = "eval."
DEFAULT_SHOTS = 4
PixelMode = Literal["exact", "histogram"]


@dataclass(frozen=True)
class AnomalyEvalSettings:
    """How a set is scored; ``eval.NAME=VALUE`` on the command line.

    Attributes:
        shots: normal training images shown to the method before each category; None for 4 where the method needs them
            and none where it does not. ``shots=4`` without the prefix is read too.
        shot_seed: which images these are.
        size_px: side of the square at which pixels are counted, masks and maps alike; None for each image's own size.
            Published figures are at the size of the network's input (518, 240): figures of different sizes differ.
        batch: images scored together; changes no result.
        pixels: ``exact``, or ``histogram`` for a single pass, which falls back on ``exact`` where the bracket of its
            AUROC and AUPRO is wider than 1e-4.
        max_positives: defective pixels held in memory at a time; more are worked off in bands of scores.
        legacy_pro: also the 200-step estimator of AUPRO behind most published tables.
    """

    shots: int | None = None
    shot_seed: int = 0
    size_px: int | None = None
    batch: int = 8
    pixels: PixelMode = "exact"
    max_positives: int = MAX_POSITIVES
    legacy_pro: bool = True

    def __post_init__(self) -> None:
        for name, least in (("shots", 0), ("size_px", 8), ("batch", 1), ("max_positives", 1)):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < least):
                raise ValueError(f"{PREFIX}{name} must be a whole number of at least {least}; got {value!r}")
        if self.pixels not in get_args(PixelMode):
            raise ValueError(f"unknown {PREFIX}pixels {self.pixels!r}; {suggest(self.pixels, get_args(PixelMode))}")

    @classmethod
    def split(cls, options: Mapping[str, Any]) -> tuple[AnomalyEvalSettings, dict[str, Any]]:
        """Separates these settings from those of the method.

        Raises:
            ValueError: a setting that does not exist; near matches are offered.
        """
        known = {entry.name for entry in dataclasses.fields(cls)}
        own = {name.removeprefix(PREFIX): value for name, value in options.items() if name.startswith(PREFIX)}
        rest = {name: value for name, value in options.items() if not name.startswith(PREFIX)}
        if "shots" in rest:
            own["shots"] = rest.pop("shots")
        unknown = sorted(set(own) - known)
        if unknown:
            raise ValueError(f"there is no setting {PREFIX}{unknown[0]}; {suggest(unknown[0], known)}")
        return cls(**own), rest

    def shots_for(self, predictor: AnomalyPredictor) -> int:
        """Normal images to show to a predictor.

        Raises:
            ValueError: none for a method that needs some.
        """
        shots = (DEFAULT_SHOTS if predictor.head.needs_fit else 0) if self.shots is None else self.shots
        if predictor.head.needs_fit and not shots:
            raise ValueError("this method learns from normal images and shots=0 gives it none; use shots=1 or more")
        return shots


def spread(images: AnomalyImages, limit: int | None) -> list[int]:
    """Indices of all images, or of about ``limit`` of them taken evenly, so that all categories stay present."""
    if limit is None or limit >= len(images):
        return list(range(len(images)))
    if limit < 1:
        raise ValueError(f"limit must be at least 1, or None for all images; got {limit}")
    return sorted(set(np.linspace(0, len(images) - 1, limit).round().astype(int).tolist()))


@dataclass(frozen=True)
class AnomalyRun:
    """A set, a method and what has been scored so far."""

    images: AnomalyImages
    predictor: AnomalyPredictor
    protocol: AnomalyEvalSettings
    store: GridStore

    def score(self, indices: Sequence[int], num_workers: int = 0) -> None:
        """Scores the images that are not stored yet, this process's share of them, category by category."""
        barrier()  # every process has read the notes before one writes a new part
        todo = [index for index in indices if index not in self.store][get_rank() :: get_world_size()]
        with progress_bar(quiet=not is_main_process()) as bar:
            task = bar.add_task("testing", total=len(todo))
            try:
                for category in self.images.categories:
                    chosen = [index for index in todo if self.images.records[index].category == category]
                    for _ in self._score_category(category, chosen, num_workers):
                        bar.advance(task)
            finally:
                self.store.flush()
        barrier()
        self.store.refresh()

    def fitted(self, category: str) -> AnomalyPredictor:
        """The predictor of a category: one that remembers its shots, or the same for all."""
        if not self.protocol.shots:
            return self.predictor
        shots = shot_images(self.images, category, self.protocol.shots, self.protocol.shot_seed)
        return self.predictor.fit(shots, self.images.words[category])

    def _score_category(self, category: str, indices: Sequence[int], num_workers: int) -> Iterator[int]:
        if not indices:
            return
        predictor, words = self.fitted(category), self.images.words[category]
        for batch in _batches(_samples(self.images, indices, num_workers), self.protocol.batch):
            answers = predictor.score([sample.image for _, sample in batch], words)
            for (index, sample), answer in zip(batch, answers, strict=True):
                self.store.add(index, self._stored(sample, answer))
                yield index

    def _stored(self, sample: AnomalySample, answer: AnomalyScore) -> StoredScore:
        name = sample.record.name
        if sample.mask is not None and sample.mask.shape != sample.image.shape[:2]:
            raise ValueError(
                f"{name}: the mask is {sample.mask.shape}, the image {sample.image.shape[:2]}; make them equal"
            )
        if not (np.isfinite(answer.grid).all() and np.isfinite(answer.image_score)):
            raise ValueError(f"{name}: the method gave scores that are not finite; check its weights")
        mask = None if sample.mask is None else resize_mask(sample.mask, self.protocol.size_px)
        return StoredScore(answer.grid, answer.image_score, mask)

    def count(self, indices: Sequence[int]) -> dict[str, CategoryScores]:
        """Figures of every category that has stored images; categories are shared among processes."""
        by_category = {name: [] for name in self.images.categories}  # type: dict[str, list[int]]
        for index in indices:
            by_category[self.images.records[index].category].append(index)
        names = [name for name, chosen in by_category.items() if chosen]
        own = {name: self._count_category(by_category[name]) for name in names[get_rank() :: get_world_size()]}
        merged = {name: scores for part in all_gather_object(own) for name, scores in part.items()}
        return {name: merged[name] for name in names}

    def _count_category(self, indices: Sequence[int]) -> CategoryScores:
        records = [self.images.records[index] for index in indices]
        render = self.fitted(records[0].category).upsampler.upsample

        def maps() -> Iterator[ScoredMap]:
            for index, record in zip(indices, records, strict=True):
                stored = self.store.load(index)
                if stored.mask is not None:
                    scores = render(stored.grid, stored.mask.shape)
                    yield ScoredMap(scores, stored.mask if record.anomalous else None, record.name)

        return score_category(
            self.store.image_scores(indices),
            np.array([record.anomalous for record in records]),
            maps,
            histogram=self.protocol.pixels == "histogram",
            legacy=self.protocol.legacy_pro,
            max_positives=self.protocol.max_positives,
        )

    def save_maps(self, folder: Path, indices: Sequence[int]) -> None:
        """Writes rendered maps as ``NAME.npy``, at the size of evaluation, or of the image where it has no mask."""
        upsamplers = {}
        for index in indices:
            record, stored = self.images.records[index], self.store.load(index)
            if record.category not in upsamplers:
                upsamplers[record.category] = self.fitted(record.category).upsampler
            size = self.images[index].image.shape[:2] if stored.mask is None else stored.mask.shape
            with atomic_write(folder / f"{record.name}.npy") as (temporary,):
                np.save(temporary, upsamplers[record.category].upsample(stored.grid, size))


def _samples(images: AnomalyImages, indices: Sequence[int], num_workers: int) -> Iterator[tuple[int, AnomalySample]]:
    """Images in order; with workers, threads read a few ahead."""
    if num_workers < 1:
        yield from ((index, images[index]) for index in indices)
        return
    with ThreadPoolExecutor(num_workers) as pool:
        ahead = 2 * num_workers
        waiting = [pool.submit(images.__getitem__, index) for index in indices[:ahead]]
        for place, index in enumerate(indices):
            sample = waiting.pop(0).result()
            if place + ahead < len(indices):
                waiting.append(pool.submit(images.__getitem__, indices[place + ahead]))
            yield index, sample


def _batches(items: Iterator[Any], size: int) -> Iterator[list[Any]]:
    batch: list[Any] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
