"""Evaluation of detectors: average precision, and region classification accuracy."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ovperc.core.atomic import atomic_write
from ovperc.core.summary import RunSummary, plain
from ovperc.data.detection.detections import ImageDetections, result_rows
from ovperc.data.detection.eval_settings import DetectionEvalSettings
from ovperc.data.detection.sample import DetectionImages, DetectionSample
from ovperc.data.detection.sets import DetectionBenchmark
from ovperc.evaluation.metrics.detection import ClassPrecision, evaluate_coco
from ovperc.evaluation.metrics.detection_lvis import evaluate_lvis
from ovperc.evaluation.metrics.detection_voc import evaluate_voc
from ovperc.evaluation.regions import region_figures, region_hits
from ovperc.evaluation.reports.detection_table import write_detection_page
from ovperc.evaluation.store import PartStore, StoredResult
from ovperc.evaluation.task_evaluation import EvaluationInputs, EvaluationScores, Scorer, TaskEvaluation

if TYPE_CHECKING:
    from ovperc.tasks.detection.prediction import DetPrediction

NAMER = "maskclip"


@dataclass(frozen=True)
class DetectionEvaluation(TaskEvaluation):
    """A detector on a detection data set.

    Attributes:
        images: the data set.
        predictor: the detector.
        row: the benchmark.
        supervision: description of the detector's training data.
        method_options: settings of the detector, for the summary.
        namer: predictor that also classifies annotated regions; None if the benchmark does not require it.
        predictions: folder for ``results.json`` in COCO's result format; None to discard them.
    """

    images: DetectionImages
    predictor: Any
    row: DetectionBenchmark
    supervision: str = ""
    method_options: Mapping[str, Any] = field(default_factory=dict)
    namer: Any = None
    predictions: Path | None = None

    @classmethod
    def of(cls, inputs: EvaluationInputs) -> DetectionEvaluation:
        """A detector and, if the benchmark requires it, `NAMER` on the same CLIP weights to classify regions."""
        request, row = inputs.request, inputs.row
        return cls(
            inputs.images,
            inputs.predictor,
            row,
            getattr(inputs.method, "supervision", "") or "not stated by the method",
            plain(asdict(inputs.method)),
            replace(request, method=NAMER).load() if row.protocol.regions else None,
            request.saved_in(request.folder(row)),
        )

    @property
    def decisive(self) -> dict[str, Any]:  # type: ignore[override]
        """The vocabulary."""
        return {"words": list(self.images.classes)}

    def scorer_of(self, group: int) -> Scorer:
        """Runs the detector on each image separately."""
        return self._score

    def _score(self, samples: Sequence[DetectionSample]) -> Iterator[StoredResult]:
        words = list(self.images.classes)
        for sample in samples:
            found = image_detections(self.predictor.predict(sample.image, words), sample.image_id)
            regions = None if self.namer is None else region_hits(self.namer, sample, words)
            kept = found.best(self.row.protocol.per_image)
            yield StoredResult(row={"found": kept.to_plain(), "regions": regions})

    def summarise(self, store: PartStore, indices: Sequence[int]) -> EvaluationScores:
        """Average precision, per class in ``details``; ``settings["protocol"]`` describes the evaluation."""
        rows = [result.row for result in store.results(indices)]
        detections = [ImageDetections.from_plain(row["found"]) for row in rows]
        classes, figures, kind = score_detections(self.images, indices, detections, self.row.protocol)
        details = {
            name: {word: 100.0 * float(value) for word, value in zip(classes.names, values, strict=True) if value > -1}
            for name, values in (("AP50", classes.ap50), ("AP", classes.ap))
        }
        return EvaluationScores(
            {**figures, **region_figures(rows, self.images)},
            {"per_class": details},
            self._settings(kind),
            (detections, kind),
        )

    def _settings(self, kind: str) -> dict[str, Any]:
        protocol, words = self.row.protocol, self.images.classes
        tags = {
            **protocol.tags,
            "headline": protocol.headline,
            "metric": f"{protocol.metric}, {'masks' if kind == 'segm' else 'boxes'}",
            "vocabulary": f"{len(words)} classes in one vocabulary",
            "image set": f"{len(self.images)} images, at most {protocol.per_image} objects per image",
            "training": self.supervision,
            "classes seen in training": known_names(words, getattr(self.predictor, "base_words", ())),
            "CLIP weights": self.info.weights,
        }
        if self.namer is not None:
            tags["mAcc"] = f"annotated regions, classified by {NAMER} on the same CLIP weights"
        about = {"method_options": self.method_options, "words": list(words), "pictures": len(self.images)}
        return {**about, "protocol": tags}

    def write_reports(
        self, work_dir: Path, summary: RunSummary, scores: EvaluationScores, store: PartStore, indices: Sequence[int]
    ) -> None:
        """Writes ``report.md``, and ``results.json`` if requested."""
        write_detection_page(work_dir, summary)
        if self.predictions is not None:
            detections, kind = scores.counts
            save_results(self.predictions / "results.json", self.images, indices, detections, kind)


def known_names(words: Sequence[str], trained: Collection[str]) -> str:
    """Which classes were seen in training, to be reported in transfer experiments."""
    known = [word for word in words if word.casefold() in trained]
    return f"{len(known)} of {len(words)}" + (f": {', '.join(known)}" if known else "")


def image_detections(found: DetPrediction, image_id: int) -> ImageDetections:
    """Converts a prediction to the evaluators' format."""
    return ImageDetections(image_id, found.boxes, found.scores, found.labels, tuple(found.masks or ()))


def score_detections(
    images: DetectionImages,
    indices: Sequence[int],
    detections: Sequence[ImageDetections],
    protocol: DetectionEvalSettings,
) -> tuple[ClassPrecision, dict[str, float], str]:
    """Average precision per class, the metrics in percent, and whether ``bbox`` or ``segm`` was evaluated.

    Detections of classes without annotations are dropped. Masks are evaluated if benchmark, detector and data set
    have them; otherwise boxes.
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


def save_results(
    path: Path,
    images: DetectionImages,
    indices: Sequence[int],
    detections: Sequence[ImageDetections],
    kind: str,
) -> None:
    """Writes COCO's result format, for evaluation servers and other tools."""
    truth = images.truth(indices)
    rows = result_rows([_known(found, len(truth.names)) for found in detections], truth, kind)
    with atomic_write(path) as (temporary,):
        temporary.write_text(json.dumps(rows), encoding="utf-8")
