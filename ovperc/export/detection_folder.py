"""Makes the folder of an exported detector."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import torch.nn.functional as F
from PIL import Image

from ovperc.core.version import __version__
from ovperc.export.builder import OPSET
from ovperc.export.detection_export import export_detector
from ovperc.export.folder import known_tokens, merges_file, replaced_folder
from ovperc.export.graph import ExportError
from ovperc.export.onnx_export import export_text
from ovperc.export.parity import STATED_AGREEMENT, Parity, paired_latency
from ovperc.export.quantize import converter
from ovperc.export.scenes import check_images
from ovperc.runtime.card import (
    EXAMPLE_NAME,
    EXPECTED_STEM,
    INPUTS_NAME,
    MERGES_NAME,
    MODEL_NAME,
    TEXT_NAME,
    Card,
    Profile,
)
from ovperc.runtime.region_scores import box_overlaps
from ovperc.runtime.segmenter import load

if TYPE_CHECKING:
    from ovperc.runtime.detector import ExportedDetector
    from ovperc.tasks.detection.prediction import DetPrediction
    from ovperc.tasks.detection.predictor import DetPredictor

WORDS = ("red star", "blue ring", "green square", "yellow disc", "purple heart", "orange cross")
_SAME_IOU, _SURE = 0.9, 0.3


@dataclass(frozen=True)
class DetectionPlan:
    """What to export.

    Attributes:
        size_hw: the one image size of the file.
        precision: ``fp32``, ``fp16`` or ``int8``.
        check_images: scenes that eager and exported are compared on; 0 for none.
    """

    size_hw: tuple[int, int] | None = None
    precision: str = "fp32"
    check_images: int = 0

    def __post_init__(self) -> None:
        converter(self.precision)
        if self.size_hw is None:
            raise ExportError("a detector's file holds one image size; pass --size HxW")


def export_detection_folder(predictor: DetPredictor, title: str, licence: str, plan: DetectionPlan, out: Path) -> Card:
    """Exports a detector.

    Args:
        predictor: in float32 on the CPU, with trained heads.
        title: of the method, for the card.
        licence: of the weights, for the card.
        plan: what to write.
        out: folder to make, or to replace by a new export.

    Returns:
        The card.

    Raises:
        ExportError: the detector has no exported form.
        FileExistsError: ``out`` holds something else.
    """
    with replaced_folder(Path(out)) as folder:
        model = export_detector(predictor.detector, plan.size_hw, converter(plan.precision))
        onnx.save(model, folder / MODEL_NAME)
        onnx.save(export_text(predictor.text_encoder.text_tower), folder / TEXT_NAME)
        shutil.copyfile(merges_file(predictor.text_encoder), folder / MERGES_NAME)
        np.savez(folder / INPUTS_NAME, **_inputs(predictor))
        card = _card(predictor, title, licence, plan)
        card.write(folder)
        exported = load(folder, verify=False)
        images = [entry.image for entry in check_images(max(plan.check_images, 1), plan.size_hw)[0]]
        Image.fromarray(images[0]).save(folder / EXAMPLE_NAME)
        replace(exported.predict(images[0], list(WORDS)), source=EXAMPLE_NAME).save(folder / EXPECTED_STEM)
        if plan.check_images:
            card = _checked(card, predictor, exported, images)
        card.write(folder)
    return Card.read(out)


def compare_detections(
    predictor: DetPredictor, exported: ExportedDetector, images: list[np.ndarray], precision: str
) -> Parity:
    """Runs both on the same images and words.

    Returns:
        ``label_agreement``: share of the surer objects (score 0.3 and more) of either side that the other has too,
        with the same name and 90 % overlap; errors of the scores of these pairs; no mIoU.
    """
    bank = predictor.bank(list(WORDS))
    exported.use_bank(bank)
    shares, counts, errors = [], [], [0.0]
    for image in images:
        theirs, ours = predictor.predict_batch([image], bank)[0], exported.predict(image)
        for one, other in ((theirs, ours), (ours, theirs)):
            sure = one.above(_SURE)
            pairs = _matches(sure, other)
            counts.append(len(sure))
            shares.append(len(pairs))
            errors += [abs(float(sure.scores[a]) - float(other.scores[b])) for a, b in pairs]
    found = [share / count for share, count in zip(shares, counts, strict=True) if count]
    return Parity(
        images=len(images),
        label_agreement=sum(shares) / max(1, sum(counts)),
        worst_image=min(found, default=1.0),
        max_confidence_error=max(errors),
        mean_confidence_error=float(np.mean(errors)),
        miou_eager=None,
        miou_exported=None,
        stated_agreement=STATED_AGREEMENT[precision],
    )


def _matches(one: DetPrediction, other: DetPrediction) -> list[tuple[int, int]]:
    """Objects of one that the other has too, each with its partner."""
    overlaps = box_overlaps(np.concatenate([one.boxes, other.boxes]))[: len(one), len(one) :]
    same = np.where(one.labels[:, None] == other.labels, overlaps, 0.0)
    return [(row, int(same[row].argmax())) for row in range(len(one)) if same[row].max(initial=0.0) >= _SAME_IOU]


def _checked(card: Card, predictor: DetPredictor, exported: ExportedDetector, images: list[np.ndarray]) -> Card:
    parity = compare_detections(predictor, exported, images, card.precision)
    bank = predictor.bank(list(WORDS))
    latency = {
        "size_hw": images[0].shape[:2],
        "words": len(WORDS),
        **paired_latency(lambda: predictor.predict_batch(images[:1], bank), lambda: exported.predict(images[0])),
    }
    return replace(card, parity=parity.as_dict(), latency=latency)


def _inputs(predictor: DetPredictor) -> dict[str, np.ndarray]:
    classifier = predictor.detector.trained.heads.classifier
    if classifier.background is None:
        return {}
    return {"background": F.normalize(classifier.background.detach().float(), dim=0).cpu().numpy()}


def _card(predictor: DetPredictor, title: str, licence: str, plan: DetectionPlan) -> Card:
    detector, info = predictor.detector, predictor.info
    classifier, preprocess = detector.trained.heads.classifier, detector.clip.preprocess
    templates = predictor.text_encoder.templates
    return Card(
        method=info.method,
        title=title,
        weights=info.weights,
        arch=info.arch,
        licence=licence,
        fingerprint=info.fingerprint,
        embed_dim=detector.clip.backbone.embed_dim,
        logit_scale=float(classifier.scale),
        precision=plan.precision,
        profile=Profile(size_hw=plan.size_hw, max_batch=1),
        preprocess={"mean": preprocess.mean, "std": preprocess.std, "colour_order": "RGB", "resize": "bilinear"},
        templates=templates.patterns,
        mass_nouns=tuple(sorted(templates.mass_nouns)),
        context_length=predictor.text_encoder.text_tower.context_length,
        example_words=WORDS,
        version=__version__,
        known_tokens=known_tokens(predictor.text_encoder),
        opset=OPSET,
        task="detection",
        settings={
            "fusion": asdict(detector.fusion),
            "classifier": {"scale": float(classifier.scale), "kind": classifier.kind},
            "base_words": sorted(predictor.base_words),
            "compose": predictor.compose,
            "nms_iou": detector.nms_iou,
            "keep": detector.keep,
            "min_score": detector.min_score,
            "min_side_px": detector.min_side_px,
        },
    )
