"""The export of a segmentation method."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from ovperc.core.structures import TextBank
from ovperc.evaluation.metrics.miou import ConfusionMatrix
from ovperc.export.parity import Check, Parity, paired_latency
from ovperc.export.scenes import IGNORED, Example, calibration_scenes, check_images, example_scene, tower_tiles
from ovperc.export.segmentation_graph import Towers, assemble, check_exportable, trace_towers
from ovperc.export.task_export import TaskExport, preprocess_fields, tiled_input_spec
from ovperc.runtime.manifest import FixedVocabulary
from ovperc.tasks.segmentation.predictor import SegPredictor

if TYPE_CHECKING:
    from ovperc.runtime.segmenter import ExportedSegmenter
    from ovperc.text.encoder import TextEncoder


class SegmentationExport(TaskExport[SegPredictor, Towers]):
    """Labels and confidence for a vocabulary that is an input, or baked in."""

    task = "segmentation"
    ignored = ("object_name",)

    def check(self) -> None:
        """Every part needs a form in the graph."""
        check_exportable(self.predictor.segmenter)

    @cached_property
    def fixed_bank(self) -> TextBank | None:
        """The vocabulary that is baked in."""
        if self.plan.fixed_words is None:
            return None
        return self.predictor.bank(self.plan.fixed_words, self.plan.background)

    @property
    def text_encoder(self) -> TextEncoder | None:
        """The predictor's, for free vocabularies."""
        return self.predictor.text_encoder if self.fixed_bank is None else None

    def trace(self) -> Towers:
        """See :func:`trace_towers`."""
        return trace_towers(self.predictor.segmenter, self.plan.size_hw)

    def calibration_feeds(self) -> list[dict[str, np.ndarray]]:
        """Tiles of scenes that no check uses."""
        segmenter = self.predictor.segmenter
        images = calibration_scenes(self.plan.calibration_images, self.plan.size_hw)
        rules = (segmenter.tiler, segmenter.clip.backbone.stride_px, segmenter.clip.preprocess, segmenter.resize)
        return [{"tiles": tower_tiles(image, *rules)} for image in images]

    def assemble(self, traced: Towers) -> onnx.ModelProto:
        """See :func:`ovperc.export.segmentation_graph.assemble`."""
        return assemble(self.predictor.segmenter, traced, self.plan.size_hw, self.fixed_bank)

    def fields(self) -> dict[str, Any]:
        """The scale of the classifier, and the fixed vocabulary."""
        segmenter, bank = self.predictor.segmenter, self.fixed_bank
        backbone = segmenter.clip.backbone
        return {
            "embed_dim": backbone.embed_dim,
            "logit_scale": segmenter.classifier.logit_scale,
            "input_spec": tiled_input_spec(segmenter.tiler, backbone.stride_px, self.plan.size_hw),
            "preprocess": preprocess_fields(segmenter.clip.preprocess, segmenter.resize),
            "fixed": None if bank is None else FixedVocabulary(bank.names, bank.background),
        }

    def example(self) -> Example:
        """A scene with many classes."""
        scene = example_scene(self.plan.size_hw)
        return scene if self.fixed_bank is None else Example(scene.image)

    def compare(self, exported: ExportedSegmenter) -> Check:
        """Labels and confidence on scenes of the world; their mIoU where the vocabulary is the world's."""
        images, classes = check_images(self.plan.check_images, self.plan.size_hw)
        fixed, segmenter = self.fixed_bank, self.predictor.segmenter
        bank = self.predictor.bank(list(classes)) if fixed is None else fixed
        query = bank.numpy() if fixed is None else None
        matrices = [ConfusionMatrix(bank.num_classes, IGNORED) for _ in range(2)] if fixed is None else []
        shares, errors = [], []
        for entry in images:
            eager = segmenter.segment(segmenter.encode(entry.image), bank)
            labels, confidence = eager.labels.cpu().numpy(), eager.confidence.cpu().numpy()
            ours = exported.predict(entry.image, query)
            shares.append((labels == ours.labels).mean())
            errors.append(np.abs(confidence - ours.confidence))
            for matrix, predicted in zip(matrices, (labels, ours.labels.astype(np.int64)), strict=False):
                matrix.update(predicted, entry.labels)
        ious = [matrix.scores()["mIoU"] for matrix in matrices] or [None, None]
        image = images[0].image
        latency = paired_latency(
            lambda: segmenter.segment(segmenter.encode(image), bank), lambda: exported.predict(image, query)
        )
        parity = Parity.measured(shares, errors, self.plan.precision, (ious[0], ious[1]))
        return Check(parity, {"size_hw": image.shape[:2], "words": bank.num_classes, **latency})
