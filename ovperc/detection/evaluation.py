"""Evaluation of a detector on a test set: resumable, in shards, with its protocol beside every number."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from mmengine.dist import barrier, get_rank, get_world_size, is_main_process

from ovperc.cli_common import progress_bar
from ovperc.configs import load_method
from ovperc.data.benchmarks import Benchmark
from ovperc.data.detection.protocols import DetectionProtocol, protocol_of
from ovperc.data.detection.row_store import RowStore
from ovperc.data.detection.sample import DetectionImages, DetectionSample
from ovperc.engine.compat import prepare_mmengine, tune_allocator
from ovperc.engine.configs import parse_overrides
from ovperc.engine.evaluate import command_line, split_overrides
from ovperc.engine.progress import settings_digest
from ovperc.engine.summary import RunSummary, plain
from ovperc.engine.test_run import TestOptions, join_processes
from ovperc.io.atomic import atomic_write
from ovperc.metrics.detection import ClassPrecision, evaluate_coco
from ovperc.metrics.detection_lvis import evaluate_lvis
from ovperc.metrics.detection_voc import evaluate_voc
from ovperc.metrics.detections import ImageDetections
from ovperc.metrics.region_accuracy import RegionAccuracy
from ovperc.reports.detection_table import detection_page

if TYPE_CHECKING:
    from ovperc.detection.prediction import DetPrediction

NAMER = "maskclip"
Score = Callable[[DetectionSample], Mapping[str, Any]]


def evaluate_detection(
    method: str | Path,
    row: Benchmark,
    *,
    weights: str | Path | None = None,
    arch: str | None = None,
    device: str = "auto",
    dtype: str = "float32",
    overrides: Sequence[str] | Mapping[str, Any] | None = None,
    data_root: str | Path | None = None,
    allow_partial: bool = False,
    threshold: float | None = None,
    limit: int | None = None,
    panels: int = 0,
    save_predictions: str | Path | bool = False,
    options: TestOptions = TestOptions(),  # noqa: B008 (frozen)
    work_dir: str | Path | None = None,
    summary_file: str | Path | None = None,
) -> RunSummary:
    """Scores a detector; a run that was killed goes on where it stopped.

    On the world, annotated boxes and masks are named too, by `NAMER` on the same CLIP weights.

    Args:
        method: name or file of a method config.
        row: the benchmark.
        weights, arch, device, dtype: as for ``ovperc.load``.
        overrides: of the method, or of the test set (``data.seed=1``).
        data_root: the data set's folder, or the folder of all; ``None`` takes ``$OVPERC_DATA``.
        allow_partial: score the pictures that are there.
        threshold, panels: belong to segmentation and are refused.
        limit: only the first images.
        save_predictions: a folder for ``results.json`` in COCO's result format; ``True`` is the work dir.
        options: processes, shard.
        work_dir: for ``summary.json`` and ``report.md``; ``work_dirs/METHOD_BENCHMARK`` by default.
        summary_file: a second place for the summary.

    Returns:
        The summary. ``metrics`` in percent; ``settings["protocol"]`` says how they are to be read; classes in
        ``details``.
    """
    from ovperc.predictor import load

    run = start_run(method, row, weights, arch, device, dtype, overrides, data_root, allow_partial, options, work_dir)
    refuse_segmentation_settings(threshold, panels, options)
    words = list(run.images.classes)
    namer = load(NAMER, weights, arch, device=device, dtype=dtype) if run.protocol.regions else None

    def score(sample: DetectionSample) -> Mapping[str, Any]:
        found = run.predictor.predict(sample.image, words)
        kept = image_detections(found, sample.image_id).best(run.protocol.per_image)
        regions = None if namer is None else region_hits(namer, sample, words)
        return {"found": kept.to_plain(), "regions": regions}

    indices = run.score(score, limit)
    detections = [ImageDetections.from_plain(entry["found"]) for entry in run.store.rows(indices)]
    classes, figures, kind = score_detections(run.images, indices, detections, run.protocol)
    figures = {**figures, **region_figures(run.store.rows(indices), run.images)}
    supervision = getattr(load_method(method), "supervision", "") or "not stated by the method"
    tags = {
        **run.protocol.tags,
        "headline": run.protocol.headline,
        "metric": f"{run.protocol.metric}, {'masks' if kind == 'segm' else 'boxes'}",
        "vocabulary": f"{len(words)} names asked together",
        "image set": f"{len(run.images)} images, {run.protocol.per_image} objects of each count",
        "training": supervision,
        "names known from training": known_names(words, getattr(run.predictor, "base_words", ())),
        "CLIP weights": run.predictor.info.weights,
        **({} if namer is None else {"mAcc": f"places given, named by {NAMER} on the same CLIP weights"}),
    }
    if save_predictions and is_main_process():
        folder = run.work_dir if save_predictions is True else Path(save_predictions)
        save_results(folder / "results.json", run.images, indices, detections, kind)
    per_class = {
        name: {word: 100.0 * float(value) for word, value in zip(classes.names, values, strict=True) if value > -1}
        for name, values in (("AP50", classes.ap50), ("AP", classes.ap))
    }
    return run.finish(indices, figures, tags, per_class, summary_file)


def known_names(words: Sequence[str], trained: Collection[str]) -> str:
    """Which of the words training knew, as transfers have to say."""
    known = [word for word in words if word.casefold() in trained]
    return f"{len(known)} of {len(words)}" + (f": {', '.join(known)}" if known else "")


def refuse_segmentation_settings(threshold: float | None, panels: int, options: TestOptions) -> None:
    """Settings that would change nothing are errors."""
    if threshold is not None:
        raise ValueError("--threshold is for segmentation: average precision ranks scores and needs no threshold")
    if options.presence:
        raise ValueError("--presence is for segmentation; every image is asked for all words here")
    if panels:
        raise ValueError("--panels is for segmentation; --save-predictions stores what a detector finds")


@dataclass(frozen=True)
class ScoringRun:
    """A set, a method, and what has been scored so far.

    Attributes:
        images: the set.
        predictor: the method.
        protocol: of the set.
        store: rows by image.
        work_dir: for results.
        options: shard, processes.
        decisive: what decides the result.
        started: ``time.perf_counter()`` at the start.
        resumed: images that earlier attempts had scored.
    """

    images: DetectionImages
    predictor: Any
    protocol: DetectionProtocol
    store: RowStore
    work_dir: Path
    options: TestOptions
    decisive: Mapping[str, Any]
    started: float
    resumed: int

    def score(self, score: Score, limit: int | None) -> list[int]:
        """Scores the images that are not stored yet; returns those that are, of all processes and shards."""
        if limit is not None and limit < 1:
            raise ValueError(f"limit must be at least 1, or None for all images; got {limit}")
        indices = range(len(self.images) if limit is None else min(limit, len(self.images)))
        barrier()  # every process has read the notes before one writes a new part
        todo = [index for index in indices if self.options.shard.holds(index) and index not in self.store]
        with progress_bar(quiet=not is_main_process()) as bar:
            task = bar.add_task("testing", total=len(todo[get_rank() :: get_world_size()]))
            try:
                for index in todo[get_rank() :: get_world_size()]:
                    self.store.add(index, score(self.images[index]))
                    bar.advance(task)
            finally:
                self.store.flush()
        barrier()
        self.store.refresh()
        return [index for index in indices if index in self.store]

    def finish(
        self,
        indices: Sequence[int],
        figures: Mapping[str, float],
        tags: Mapping[str, str],
        per_class: Mapping[str, Mapping[str, float]],
        summary_file: str | Path | None,
    ) -> RunSummary:
        """Writes ``summary.json`` and ``report.md``, and drops the notes of a finished run."""
        whole = len(indices) == len(self.images)
        settings = {
            **asdict(self.predictor.info),
            **self.decisive,
            "protocol": dict(tags),
            "images": len(indices),
            "images_in_set": len(self.images),
            "complete": whole and getattr(self.images, "complete", True),
            "resumed": self.resumed,
            "shard": str(self.options.shard),
            "launcher": self.options.launcher,
            "config": settings_digest(self.decisive),
        }
        summary = RunSummary(
            kind="test",
            metrics=figures,
            settings=settings,
            seconds=time.perf_counter() - self.started,
            details={"per_class": per_class},
            command=command_line(sys.argv),
        )
        if is_main_process():
            with atomic_write(self.work_dir / "report.md") as (temporary,):
                temporary.write_text(detection_page(settings, figures, per_class), encoding="utf-8")
            summary.write_all(self.work_dir / "summary.json", summary_file)
            if whole:
                self.store.clear()
        return summary


def start_run(
    method: str | Path,
    row: Benchmark,
    weights: str | Path | None,
    arch: str | None,
    device: str,
    dtype: str,
    overrides: Sequence[str] | Mapping[str, Any] | None,
    data_root: str | Path | None,
    allow_partial: bool,
    options: TestOptions,
    work_dir: str | Path | None,
) -> ScoringRun:
    """Opens the set and the method, and takes up what an earlier attempt has scored; arguments as above."""
    from ovperc.predictor import load

    started = time.perf_counter()
    tune_allocator()
    prepare_mmengine()
    join_processes(options.launcher)
    user, data = split_overrides(parse_overrides(overrides))
    images = open_detection_images(row, data, data_root, allow_partial)
    predictor = load(method, weights, arch, device=device, dtype=dtype, **user)
    name = load_method(method).name
    folder = Path(work_dir or Path("work_dirs") / f"{name}_{row.name}")
    decisive = {
        **{key: value for key, value in asdict(predictor.info).items() if key not in ("device", "weights")},
        "benchmark": row.name,
        "data": {key: value for key, value in {**row.options, **data}.items() if key != "root"},
        "method_options": plain(asdict(load_method(method, user))),
        "words": list(images.classes),
        "pictures": len(images),
    }
    store = RowStore(folder / f"progress-{settings_digest(decisive)[:12]}", options.save_every_s)
    return ScoringRun(images, predictor, protocol_of(row.name), store, folder, options, decisive, started, len(store))


def open_detection_images(
    row: Benchmark, options: Mapping[str, Any], data_root: str | Path | None, allow_partial: bool
) -> DetectionImages:
    """A benchmark's images.

    Raises:
        LayoutError: the data is not there.
        ValueError: a data root for a benchmark that has no files.
    """
    if row.needs_data:
        root = None if data_root is None else str(data_root)
        return row.images(**{"root": root, "partial": allow_partial, **options})  # type: ignore[return-value]
    if data_root is not None:
        raise ValueError(f"benchmark {row.name!r} is generated and has no files; leave out --data-root")
    return row.images(**options)  # type: ignore[return-value]


def image_detections(found: DetPrediction, image_id: int) -> ImageDetections:
    """A prediction as the evaluators read it."""
    return ImageDetections(image_id, found.boxes, found.scores, found.labels, tuple(found.masks or ()))


def score_detections(
    images: DetectionImages,
    indices: Sequence[int],
    detections: Sequence[ImageDetections],
    protocol: DetectionProtocol,
) -> tuple[ClassPrecision, dict[str, float], str]:
    """Average precision by class, the figures in percent, and whether ``bbox`` or ``segm`` was compared.

    Detections of words beyond the annotated classes are dropped. Masks are compared where protocol, detector and
    set have them; otherwise boxes.
    """
    truth = images.truth(indices)
    detections = [_known(found, len(truth.names)) for found in detections]
    masked = all(len(found.masks) == len(found.scores) for found in detections)
    masked = masked and all(row.get("segmentation") for row in truth.annotations)
    kind = "segm" if protocol.kind == "segm" and masked else "bbox"
    if protocol.metric == "lvis":
        federated = evaluate_lvis(truth, detections, kind, protocol.per_image)
        return federated.classes, federated.scores(), kind
    if protocol.metric == "voc":
        classes = evaluate_voc(truth, detections)
        return classes, classes.scores(), "bbox"
    limits = (1, 10, protocol.per_image)
    classes = evaluate_coco(truth, detections, kind, limits)
    figures = classes.scores()
    if kind == "bbox" and masked and protocol.metric == "coco" and any(len(found.masks) for found in detections):
        of_masks = evaluate_coco(truth, detections, "segm", limits).scores()
        figures |= {f"mask.{name}": value for name, value in of_masks.items() if name.startswith("AP50")}
    return classes, figures, kind


def _known(found: ImageDetections, classes: int) -> ImageDetections:
    kept = found.labels < classes
    masks = tuple(mask for mask, keep in zip(found.masks, kept, strict=True) if keep) if found.masks else ()
    return ImageDetections(found.image_id, found.boxes[kept], found.scores[kept], found.labels[kept], masks)


def region_hits(namer: Any, sample: DetectionSample, words: Sequence[str]) -> dict[str, Any]:
    """How annotated regions are named when their place is given: labels, and the best five words by box and mask.

    Args:
        namer: has ``classify_regions``; a segmentation predictor encodes the image once for both.
        sample: an annotated image; crowds are left out.
        words: label -> word.
    """
    from ovperc.predictor import Predictor

    kept = (~sample.crowd).nonzero()[0]
    ranked: dict[str, Any] = {}
    if len(kept):
        image = namer.encode(sample.image) if isinstance(namer, Predictor) else sample.image
        regions: dict[str, Any] = {"box": sample.boxes[kept]}
        if sample.masks:
            regions["mask"] = sample.dense_masks()[kept]
        for view, given in regions.items():
            scores = torch.as_tensor(namer.classify_regions(image, given, list(words)).scores)
            ranked[view] = scores.argsort(dim=1, descending=True, stable=True)[:, :5].tolist()
    return {"labels": sample.labels[kept].tolist(), **ranked}


def region_figures(rows: Sequence[Mapping[str, Any]], images: DetectionImages, compat: str = "") -> dict[str, float]:
    """Mean accuracy by class of named regions, in percent; empty where none were named."""
    hits = [row["regions"] for row in rows if row.get("regions") and row["regions"]["labels"]]
    views = [view for view in ("box", "mask") if any(view in row for row in hits)]
    if not views:
        return {}
    meter = RegionAccuracy(len(images.classes), views)
    for row in hits:
        for view in views:
            if view in row:
                meter.update_ranked(view, torch.tensor(row[view]), torch.tensor(row["labels"]))
    return meter.scores(images.groups, compat)


def save_results(
    path: Path,
    images: DetectionImages,
    indices: Sequence[int],
    detections: Sequence[ImageDetections],
    kind: str,
) -> None:
    """Writes COCO's result format, for the evaluation servers and other tools."""
    import json

    from ovperc.metrics.detections import result_rows

    truth = images.truth(indices)
    rows = result_rows([_known(found, len(truth.names)) for found in detections], truth, kind)
    with atomic_write(path) as (temporary,):
        temporary.write_text(json.dumps(rows), encoding="utf-8")
