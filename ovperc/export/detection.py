"""The export of a detector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import torch.nn.functional as F

from ovperc.export.detection_graph import DetectorTrace, assemble_detector, trace_detector
from ovperc.export.detection_towers import check_detection_exportable
from ovperc.export.parity import STATED_AGREEMENT, Check, Parity, paired_latency
from ovperc.export.parts import ExportError
from ovperc.export.scenes import Example, calibration_scenes, check_images, tower_tiles
from ovperc.export.task_export import TaskExport, preprocess_fields
from ovperc.runtime.input_spec import InputSpec
from ovperc.runtime.region_scores import box_overlaps
from ovperc.tasks.detection.predictor import DetPredictor

if TYPE_CHECKING:
    from ovperc.runtime.detector import ExportedDetector
    from ovperc.tasks.detection.prediction import DetPrediction
    from ovperc.text.encoder import TextEncoder

WORDS = ("red star", "blue ring", "green square", "yellow disc", "purple heart", "orange cross")
_SAME_IOU, _CONFIDENT = 0.9, 0.3


class DetectionExport(TaskExport[DetPredictor, DetectorTrace]):
    """Boxes with two embeddings each, for images of one size; the vocabulary meets them behind the graph."""

    task = "detection"
    ignored = ("fixed_words", "object_name")

    def check(self) -> None:
        """Every part needs a form in the graph, and the plan a size."""
        check_detection_exportable(self.predictor.detector)
        if self.plan.size_hw is None:
            raise ExportError("an exported detector takes one image size; pass --size HxW")

    @property
    def _size_hw(self) -> tuple[int, int]:
        assert self.plan.size_hw is not None  # see check
        return self.plan.size_hw

    @property
    def text_encoder(self) -> TextEncoder:
        """The predictor's."""
        return self.predictor.text_encoder

    def inputs(self) -> Mapping[str, np.ndarray]:
        """The embedding of a learned background."""
        background = self.predictor.detector.trained.heads.classifier.background
        if background is None:
            return {}
        return {"background": F.normalize(background.detach().float(), dim=0).cpu().numpy()}

    def trace(self) -> DetectorTrace:
        """See :func:`trace_detector`."""
        return trace_detector(self.predictor.detector, self._size_hw)

    def calibration_feeds(self) -> list[dict[str, np.ndarray]]:
        """Pixels of scenes that no check uses."""
        detector = self.predictor.detector
        rules = (detector.tiler, detector.clip.backbone.stride_px, detector.clip.preprocess, detector.resize)
        images = calibration_scenes(self.plan.calibration_images, self._size_hw)
        return [{"pixels": tower_tiles(image, *rules)} for image in images]

    def assemble(self, traced: DetectorTrace) -> onnx.ModelProto:
        """See :func:`assemble_detector`."""
        return assemble_detector(self.predictor.detector, traced, self._size_hw)

    def fields(self) -> dict[str, Any]:
        """Fusion, classifier and suppression, which follow the graph."""
        detector = self.predictor.detector
        classifier, scale = detector.trained.heads.classifier, float(detector.trained.heads.classifier.scale)
        return {
            "embed_dim": detector.clip.backbone.embed_dim,
            "logit_scale": scale,
            "input_spec": InputSpec(size_hw=self._size_hw),
            "preprocess": preprocess_fields(detector.clip.preprocess, detector.resize),
            "settings": {
                "fusion": asdict(detector.fusion),
                "classifier": {"scale": scale, "kind": classifier.kind},
                "base_words": sorted(self.predictor.base_words),
                "compose": self.predictor.compose,
                "nms_iou": detector.nms_iou,
                "max_detections": detector.max_detections,
                "min_score": detector.min_score,
                "min_side_px": detector.min_side_px,
            },
        }

    def example(self) -> Example:
        """A scene of the world."""
        return Example(self._check_images()[0], WORDS)

    def compare(self, exported: ExportedDetector) -> Check:
        """Objects on scenes of the world.

        The agreement is the share of the confident objects of either side that the other side has too, with the same
        name and 90 % overlap; errors are those of the scores of these pairs; there is no mIoU.
        """
        bank, images = self.predictor.bank(list(WORDS)), self._check_images()
        query = bank.numpy()
        shares, counts, errors = [], [], [0.0]
        for image in images:
            theirs, ours = self.predictor.predict_batch([image], bank)[0], exported.predict(image, query)
            for one, other in ((theirs, ours), (ours, theirs)):
                confident = one.above(_CONFIDENT)
                pairs = _matches(confident, other)
                counts.append(len(confident))
                shares.append(len(pairs))
                errors += [abs(float(confident.scores[a]) - float(other.scores[b])) for a, b in pairs]
        found = [share / count for share, count in zip(shares, counts, strict=True) if count]
        parity = Parity(
            images=len(images),
            label_agreement=sum(shares) / max(1, sum(counts)),
            worst_image=min(found, default=1.0),
            max_confidence_error=max(errors),
            mean_confidence_error=float(np.mean(errors)),
            stated_agreement=STATED_AGREEMENT[self.plan.precision],
        )
        latency = paired_latency(
            lambda: self.predictor.predict_batch(images[:1], bank), lambda: exported.predict(images[0], query)
        )
        return Check(parity, {"size_hw": images[0].shape[:2], "words": len(WORDS), **latency})

    def _check_images(self) -> list[np.ndarray]:
        return [entry.image for entry in check_images(max(self.plan.check_images, 1), self._size_hw)[0]]


def _matches(one: DetPrediction, other: DetPrediction) -> list[tuple[int, int]]:
    """Objects of one that the other has too, each with its partner."""
    overlaps = box_overlaps(np.concatenate([one.boxes, other.boxes]))[: len(one), len(one) :]
    same = np.where(one.labels[:, None] == other.labels, overlaps, 0.0)
    return [(row, int(same[row].argmax())) for row in range(len(one)) if same[row].max(initial=0.0) >= _SAME_IOU]
