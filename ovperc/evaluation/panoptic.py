"""Evaluation of a method of panoptic segmentation: panoptic quality, summed over images."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ovperc.core.atomic import atomic_write
from ovperc.core.summary import RunSummary
from ovperc.data.panoptic.sample import STUFF, THING, PanopticImages, PanopticSample
from ovperc.evaluation.metrics.panoptic import PanopticQuality
from ovperc.evaluation.store import PartStore, StoredResult
from ovperc.evaluation.task_evaluation import EvaluationInputs, EvaluationScores, Scorer, TaskEvaluation
from ovperc.io.panoptic import panoptic_categories, segments_info, write_ids

_COUNTS = "panoptic_quality"
_DOCUMENT = "panoptic.json"


@dataclass(frozen=True)
class PanopticEvaluation(TaskEvaluation):
    """A method on a set of images with segments.

    Attributes:
        images: the set.
        predictor: the method.
        predictions: folder for ``panoptic.json`` and ``panoptic/NAME.png`` with the set's category ids, as panopticapi
            reads them; None for none.
    """

    titles = PanopticQuality.titles
    headline = "PQ"

    images: PanopticImages
    predictor: Any
    predictions: Path | None = None

    @classmethod
    def of(cls, inputs: EvaluationInputs) -> PanopticEvaluation:
        """A method with the classes of the set."""
        return cls(inputs.images, inputs.predictor, inputs.predictions)

    @property
    def decisive(self) -> dict[str, Any]:  # type: ignore[override]
        """The classes, which of them are stuff, and where predictions go."""
        return {
            "words": list(self.images.classes),
            "stuff": list(self.images.groups[STUFF]),
            "predictions": None if self.predictions is None else str(self.predictions),
        }

    def scorer_of(self, group: int) -> Scorer:
        """Divides each image by itself."""
        return self._score

    def _score(self, samples: Sequence[PanopticSample]) -> Iterator[StoredResult]:
        classes, quality = tuple(self.images.classes), PanopticQuality(len(self.images.classes))
        query = self.predictor.query(classes, stuff=[classes[label] for label in self.images.groups[STUFF]])
        for sample in samples:
            found = self.predictor.predict(sample.image, query).panoptic
            row = None
            if self.predictions is not None:
                file = self.predictions / "panoptic" / f"{sample.name}.png"
                with atomic_write(file) as (temporary,):
                    write_ids(temporary, found.ids)
                segments = segments_info(found, self.images.category_ids)
                row = {"image_id": sample.image_id, "file_name": file.name, "segments_info": segments}
            yield StoredResult({_COUNTS: quality.count(found, sample.panoptic)}, row)

    def summarise(self, store: PartStore, indices: Sequence[int]) -> EvaluationScores:
        """PQ, SQ and RQ of all classes, of things and of stuff; those of classes in ``details``."""
        quality = PanopticQuality(len(self.images.classes))
        for result in store.results(indices):
            quality.add(result.arrays[_COUNTS])
        found = {name: quality.of_class(label) for label, name in enumerate(self.images.classes)}
        per_class = {
            figure: {name: 100.0 * getattr(entry, figure.lower()) for name, entry in found.items() if entry is not None}
            for figure in ("PQ", "SQ", "RQ")
        }
        return EvaluationScores(quality.figures(self.images.groups), {"per_class": per_class})

    def write_reports(
        self, work_dir: Path, summary: RunSummary, scores: EvaluationScores, store: PartStore, indices: Sequence[int]
    ) -> None:
        """The document of the predictions, if the request says so."""
        if self.predictions is None:
            return
        things = self.images.groups[THING]
        document = {
            "annotations": [result.row for result in store.results(indices)],
            "categories": panoptic_categories(tuple(self.images.classes), things, self.images.category_ids),
        }
        with atomic_write(self.predictions / _DOCUMENT) as (temporary,):
            temporary.write_text(json.dumps(document), encoding="utf-8")
