"""All that an evaluation has counted so far: sums that can be added, stored and taken up again."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from ovperc.evaluation.metrics.boundary import BoundaryIoU
from ovperc.evaluation.metrics.miou import ConfusionMatrix, iou_of_counts
from ovperc.evaluation.metrics.presence import PresenceMeter


class EvaluationState:
    """Counts of a subset of a test set's images, in memory that does not grow with their number.

    (One bit of bookkeeping per image apart: which ones are counted.)

    Args:
        num_images: in the whole test set.
        num_classes: labels.
        ignore_index: true label of pixels that do not count.
        absent: as for ``ConfusionMatrix``.
        keep_worst: how many of the images with the lowest mIoU are remembered.

    Attributes:
        matrix: confusions.
        boundary: bands along contours.
        presence: absent-class protocol; empty if it is not run.
        done: ``(num_images,)`` bool, images that are counted.
        worst: ``(<= keep_worst, 2)`` float64: mIoU in percent and index of the images with the lowest, lowest first.
    """

    def __init__(
        self, num_images: int, num_classes: int, ignore_index: int = 255, absent: str = "skip", keep_worst: int = 0
    ) -> None:
        self.matrix = ConfusionMatrix(num_classes, ignore_index, absent)  # type: ignore[arg-type]
        self.boundary = BoundaryIoU(num_classes, ignore_index)
        self.presence = PresenceMeter()
        self.done = torch.zeros(num_images, dtype=torch.bool)
        self.keep_worst = keep_worst
        self.worst = torch.zeros(0, 2, dtype=torch.float64)

    def update(self, index: int, prediction: Tensor | np.ndarray, target: Tensor | np.ndarray) -> None:
        """Counts image ``index``.

        Args:
            index: in the test set; each is counted once.
            prediction: ``(H, W)`` integer labels.
            target: ``(H, W)`` integer labels, or the ignored one.

        Raises:
            ValueError: the image is counted already, or a label map is refused.
        """
        if self.done[index]:
            raise ValueError(f"image {index} is counted already")
        prediction, target = (np.asarray(v.cpu()) if isinstance(v, Tensor) else v for v in (prediction, target))
        counts = self.matrix.update(prediction, target)
        self.boundary.update(prediction, target)
        if self.keep_worst:
            self._remember(index, counts)
        self.done[index] = True

    def _remember(self, index: int, counts: Tensor) -> None:
        score = 100.0 * float(iou_of_counts(counts).nanmean())
        if np.isfinite(score):
            self._merge_worst(torch.tensor([[score, index]], dtype=torch.float64))

    def _merge_worst(self, rows: Tensor) -> None:
        rows = torch.cat([self.worst, rows])
        order = np.lexsort((rows[:, 1].numpy(), rows[:, 0].numpy()))[: self.keep_worst]
        self.worst = rows[order.copy()]

    def add(self, other: EvaluationState) -> None:
        """Adds the counts of other images.

        Raises:
            ValueError: an image is in both.
        """
        self.add_tensors(other.tensors())

    def tensors(self) -> dict[str, Tensor]:
        """All counts by name."""
        return {
            "confusion": self.matrix.counts,
            "boundary": self.boundary.counts,
            "presence_histograms": self.presence.histograms,
            "presence_area": self.presence.area,
            "done": self.done,
            "worst": self.worst,
        }

    def add_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Adds counts that :meth:`tensors` gave.

        Raises:
            ValueError: they are of another test set, or an image is in both.
        """
        own = self.tensors()
        wrong = [
            name
            for name, tensor in own.items()
            if name not in tensors or (name != "worst" and tensors[name].shape != tensor.shape)
        ]
        if wrong:
            raise ValueError(f"counts {wrong[0]!r} do not fit: they are of another test set or version")
        if bool((self.done & tensors["done"]).any()):
            twice = int((self.done & tensors["done"]).nonzero()[0])
            raise ValueError(f"image {twice} is counted twice: two runs have worked on the same images")
        for name in ("confusion", "boundary", "presence_histograms", "presence_area"):
            own[name] += tensors[name]
        self.done |= tensors["done"]
        self.matrix.images = int(self.done.sum())
        self._merge_worst(tensors["worst"])

    def scores(self, groups: Mapping[str, tuple[int, ...]] | None = None) -> dict[str, float]:
        """Scores by name, in percent; ``mIoU.GROUP`` for each group of labels."""
        scores = {**self.matrix.scores(), **self.matrix.conventions(), "bIoU": self.boundary.score()}
        for name, labels in (groups or {}).items():
            scores[f"mIoU.{name}"] = 100.0 * self.matrix.mean(self.matrix.iou()[list(labels)])
        if self.presence.area[1] > 0:
            scores |= self.presence.scores()
        return scores
