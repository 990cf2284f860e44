"""Classification accuracy of annotated regions, for any method with dense embeddings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ovperc.core.summary import RunSummary
from ovperc.data.detection.sample import DetectionImages, DetectionSample
from ovperc.evaluation.metrics.region_accuracy import RegionAccuracy
from ovperc.evaluation.reports.detection_table import write_detection_page
from ovperc.evaluation.request import EvaluationRequest
from ovperc.evaluation.store import PartStore, StoredResult
from ovperc.evaluation.task_evaluation import EvaluationInputs, EvaluationScores, Scorer, TaskEvaluation


@dataclass(frozen=True)
class RegionEvaluation(TaskEvaluation):
    """Annotated boxes and masks, classified by the mean of a method's embeddings inside them.

    Attributes:
        images: the data set.
        predictor: any method that classifies regions, including segmentation methods.
    """

    any_task = True
    images: DetectionImages
    predictor: Any

    @classmethod
    def check(cls, request: EvaluationRequest) -> None:
        """Rejects segmentation settings, and saving predictions."""
        super().check(request)
        if request.save_predictions:
            raise ValueError("annotated regions have no predictions to save")

    @classmethod
    def of(cls, inputs: EvaluationInputs) -> RegionEvaluation:
        """A method.

        Raises:
            ValueError: the method has no dense embeddings.
        """
        predictor = inputs.predictor
        if not hasattr(predictor, "classify_regions"):
            raise ValueError(f"method {predictor.info.method!r} does not classify regions; use a segmentation method")
        return cls(inputs.images, predictor)

    @property
    def decisive(self) -> dict[str, Any]:  # type: ignore[override]
        """The vocabulary."""
        return {"words": list(self.images.classes)}

    def scorer_of(self, group: int) -> Scorer:
        """Classifies the regions of each image."""
        return self._score

    def _score(self, samples: Sequence[DetectionSample]) -> Iterator[StoredResult]:
        words = list(self.images.classes)
        for sample in samples:
            yield StoredResult(row={"regions": region_hits(self.predictor, sample, words)})

    def summarise(self, store: PartStore, indices: Sequence[int]) -> EvaluationScores:
        """``mAcc1.box``, ``mAcc1.mask`` and top 5, means over classes in percent, overall and per group."""
        tags = {
            "regions": "annotated regions except tiny ones; mean of dense embeddings inside box or mask",
            "figure": "top-1 and top-5 accuracy, mean over present classes",
            "vocabulary": f"{len(self.images.classes)} classes in one vocabulary",
            "CLIP weights": self.info.weights,
        }
        figures = region_figures([result.row for result in store.results(indices)], self.images)
        settings = {"words": list(self.images.classes), "protocol": tags}
        return EvaluationScores(figures, {"per_class": {}}, settings)

    def write_reports(
        self, work_dir: Path, summary: RunSummary, scores: EvaluationScores, store: PartStore, indices: Sequence[int]
    ) -> None:
        """``report.md``."""
        write_detection_page(work_dir, summary)


def region_hits(namer: Any, sample: DetectionSample, words: Sequence[str]) -> dict[str, Any]:
    """Classifies annotated regions: labels, and the top five classes by box and by mask.

    Args:
        namer: predictor with ``classify_regions``; a segmentation predictor encodes the image once for both.
        sample: annotated image; crowds are skipped.
        words: label -> class name.
    """
    from ovperc.tasks.segmentation.predictor import SegPredictor

    kept = (~sample.crowd).nonzero()[0]
    ranked: dict[str, Any] = {}
    if len(kept):
        image = namer.encode(sample.image) if isinstance(namer, SegPredictor) else sample.image
        regions: dict[str, Any] = {"box": sample.boxes[kept]}
        if sample.masks:
            regions["mask"] = sample.dense_masks()[kept]
        for view, given in regions.items():
            scores = torch.as_tensor(namer.classify_regions(image, given, list(words)).scores)
            ranked[view] = scores.argsort(dim=1, descending=True, stable=True)[:, :5].tolist()
    return {"labels": sample.labels[kept].tolist(), **ranked}


def region_figures(rows: Sequence[Mapping[str, Any]], images: DetectionImages, compat: str = "") -> dict[str, float]:
    """Mean class accuracy of regions, in percent; empty without regions."""
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
