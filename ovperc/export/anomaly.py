"""The export of an anomaly method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from ovperc.export.anomaly_graph import anomaly_inputs, assemble_anomaly, check_anomaly_exportable, trace_anomaly
from ovperc.export.parity import Check, Parity, paired_latency
from ovperc.export.scenes import CALIBRATION_SEED, CHECK_SEED, Example, product_images, tower_tiles
from ovperc.export.task_export import TaskExport, preprocess_fields, tiled_input_spec
from ovperc.export.tracing import Traced
from ovperc.tasks.anomaly.predictor import AnomalyPredictor

if TYPE_CHECKING:
    from ovperc.runtime.anomaly import ExportedAnomaly

_BENCHMARK = "world-anomaly"
_ANY_OBJECT = "object"
# Pixels are told apart at this quantile of all eager maps of the check.
_QUANTILE = 0.95


class AnomalyExport(TaskExport[AnomalyPredictor, Traced]):
    """Anomaly maps and scores, compared with the text embeddings of one object or with a memory bank."""

    task = "anomaly"
    ignored = ("fixed_words",)

    def check(self) -> None:
        """Every part needs a form in the graph, and a memory bank some images."""
        check_anomaly_exportable(self.predictor)

    @property
    def object_name(self) -> str:
        """What is inspected."""
        return self.plan.object_name or _ANY_OBJECT

    @cached_property
    def _inputs(self) -> dict[str, np.ndarray]:
        return anomaly_inputs(self.predictor, self.object_name)

    def inputs(self) -> Mapping[str, np.ndarray]:
        """What images are compared with."""
        return self._inputs

    def trace(self) -> Traced:
        """See :func:`trace_anomaly`."""
        return trace_anomaly(self.predictor, self.plan.size_hw, self._inputs)

    def calibration_feeds(self) -> list[dict[str, np.ndarray]]:
        """Tiles of products that no check uses, with the inputs."""
        predictor = self.predictor
        images = product_images(self.plan.calibration_images, self.plan.size_hw, CALIBRATION_SEED)
        patch_px, resize = predictor.backbone.stride_px, predictor.method.resize
        tiles = (tower_tiles(image, predictor.tiler, patch_px, predictor.preprocess, resize) for image in images)
        return [{"tiles": part, **self._inputs} for part in tiles]

    def assemble(self, traced: Traced) -> onnx.ModelProto:
        """See :func:`assemble_anomaly`."""
        return assemble_anomaly(self.predictor, traced, self._inputs, self.plan.size_hw)

    def fields(self) -> dict[str, Any]:
        """The thresholds of the decision."""
        predictor = self.predictor
        return {
            "embed_dim": predictor.backbone.embed_dim,
            "logit_scale": 1.0,
            "input_spec": tiled_input_spec(predictor.tiler, predictor.backbone.stride_px, self.plan.size_hw),
            "preprocess": preprocess_fields(predictor.preprocess, predictor.method.resize),
            "settings": {
                "object_name": self.object_name,
                "calibration": asdict(predictor.calibration),
                "bounded": predictor.head.bounded,
                "remembered_images": len(predictor.remembered),
            },
        }

    def example(self) -> Example:
        """A product of the world."""
        return Example(self._check_images()[-1])

    def compare(self, exported: ExportedAnomaly) -> Check:
        """Maps on products; pixels agree that lie on the same side of a high quantile of the eager maps."""
        images, predictor, name = self._check_images(), self.predictor, self.object_name
        eager = [predictor.predict(image, name).map for image in images]
        ours = [exported.predict(image).map for image in images]
        threshold = np.quantile(np.concatenate([values.ravel() for values in eager]), _QUANTILE)
        shares = [((a >= threshold) == (b >= threshold)).mean() for a, b in zip(eager, ours, strict=True)]
        errors = [np.abs(a - b) for a, b in zip(eager, ours, strict=True)]
        latency = paired_latency(lambda: predictor.predict(images[0], name), lambda: exported.predict(images[0]))
        parity = Parity.measured(shares, errors, self.plan.precision, benchmark=_BENCHMARK)
        return Check(parity, {"size_hw": images[0].shape[:2], **latency})

    def _check_images(self) -> list[np.ndarray]:
        return product_images(max(self.plan.check_images, 1), self.plan.size_hw, CHECK_SEED)
