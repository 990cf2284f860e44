"""Evaluation of a detector on a test set: resumable, in shards, with its protocol beside every number."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from mmengine.dist import is_main_process

from ovperc.core.atomic import atomic_write
from ovperc.core.summary import RunSummary
from ovperc.data.benchmark import Benchmark
from ovperc.data.detection.detections import ImageDetections
from ovperc.data.detection.eval_settings import DetectionEvalSettings
from ovperc.data.detection.sample import DetectionImages, DetectionSample
from ovperc.evaluation.metrics.detection import ClassPrecision, evaluate_coco
from ovperc.evaluation.metrics.detection_lvis import evaluate_lvis
from ovperc.evaluation.metrics.detection_voc import evaluate_voc
from ovperc.evaluation.metrics.region_accuracy import RegionAccuracy
from ovperc.evaluation.request import EvaluationRequest
from ovperc.evaluation.scoring_run import start_run
from ovperc.tasks.methods import load_method

if TYPE_CHECKING:
    from ovperc.tasks.detection.prediction import DetPrediction

NAMER = "maskclip"


def evaluate_detection(request: EvaluationRequest, row: Benchmark) -> RunSummary:
    """Scores a detector; a run that was killed goes on where it stopped.

    On the world, annotated boxes and masks are named too, by `NAMER` on the same CLIP weights.

    Args:
        request: what to run. Predictions are ``results.json`` in COCO's result format; ``threshold`` and ``panels``
            belong to segmentation and are refused.
        row: the benchmark.

    Returns:
        The summary. ``metrics`` in percent; ``settings["protocol"]`` says how they are to be read; classes in
        ``details``.
    """
    request.refuse_segmentation_settings()
    run = start_run(request, row)
    words = list(run.images.classes)
    namer = replace(request, method=NAMER).load() if run.protocol.regions else None

    def score(sample: DetectionSample) -> Mapping[str, Any]:
        found = run.predictor.predict(sample.image, words)
        kept = image_detections(found, sample.image_id).best(run.protocol.per_image)
        regions = None if namer is None else region_hits(namer, sample, words)
        return {"found": kept.to_plain(), "regions": regions}

    indices = run.score(score, request.limit)
    detections = [ImageDetections.from_plain(entry["found"]) for entry in run.store.rows(indices)]
    classes, figures, kind = score_detections(run.images, indices, detections, run.protocol)
    figures = {**figures, **region_figures(run.store.rows(indices), run.images)}
    supervision = getattr(load_method(request.method), "supervision", "") or "not stated by the method"
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
    folder = request.saved_in(run.work_dir)
    if folder is not None and is_main_process():
        save_results(folder / "results.json", run.images, indices, detections, kind)
    per_class = {
        name: {word: 100.0 * float(value) for word, value in zip(classes.names, values, strict=True) if value > -1}
        for name, values in (("AP50", classes.ap50), ("AP", classes.ap))
    }
    return run.finish(indices, figures, tags, per_class, request.summary_file)


def known_names(words: Sequence[str], trained: Collection[str]) -> str:
    """Which of the words training knew, as transfers have to say."""
    known = [word for word in words if word.casefold() in trained]
    return f"{len(known)} of {len(words)}" + (f": {', '.join(known)}" if known else "")


def image_detections(found: DetPrediction, image_id: int) -> ImageDetections:
    """A prediction as the evaluators read it."""
    return ImageDetections(image_id, found.boxes, found.scores, found.labels, tuple(found.masks or ()))


def score_detections(
    images: DetectionImages,
    indices: Sequence[int],
    detections: Sequence[ImageDetections],
    protocol: DetectionEvalSettings,
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

    from ovperc.data.detection.detections import result_rows

    truth = images.truth(indices)
    rows = result_rows([_known(found, len(truth.names)) for found in detections], truth, kind)
    with atomic_write(path) as (temporary,):
        temporary.write_text(json.dumps(rows), encoding="utf-8")
