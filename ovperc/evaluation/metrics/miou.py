"""Mean intersection over union from a streaming confusion matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from mmengine.dist import all_reduce
from mmengine.evaluator import BaseMetric
from torch import Tensor

from ovperc.evaluation.metrics.label_map_metric import LabelMapMetric, Labels
from ovperc.registry import METRICS

Absent = Literal["skip", "zero"]
ABSENT: tuple[str, ...] = ("skip", "zero")
CONVENTION_TITLES: Mapping[str, str] = {
    "mIoU_absent_skip": "mIoU, absent classes skipped",
    "mIoU_absent_zero": "mIoU, absent classes zero",
    "mIoU_true_only": "mIoU, ground-truth classes only",
}


class ConfusionMatrix(LabelMapMetric):
    """Confusion matrix accumulated over label maps in ``C * (C + 1)`` memory.

    Args:
        num_classes: ``C``.
        ignore_index: label of ignored pixels.
        absent: whether classes without true or predicted pixels are excluded from the means (``skip``, mmseg's
            default) or count as 0 (``zero``, mmseg's ``nan_to_num=0``).

    Attributes:
        counts: ``(C, C + 1)`` int64, true by predicted class; the last column counts predictions outside ``0..C-1``.
        images: number of label maps counted.
    """

    name = "confusion"
    titles: ClassVar[Mapping[str, str]] = {
        "mIoU": "mIoU",
        "mIoU.base": "mIoU.base",
        "mIoU.novel": "mIoU.novel",
        "mAcc": "mAcc",
        "aAcc": "aAcc",
        "fwIoU": "fwIoU",
    }

    def __init__(self, num_classes: int, ignore_index: int = 255, absent: Absent = "skip") -> None:
        if num_classes < 1:
            raise ValueError(f"num_classes must be at least 1; got {num_classes}")
        if ignore_index < 0:
            raise ValueError(f"ignore_index must be non-negative; got {ignore_index} (255 is usual, 65535 in 16 bits)")
        if absent not in ABSENT:
            raise ValueError(f"absent must be 'skip' or 'zero'; got {absent!r}")
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.absent = absent
        self.counts = torch.zeros(num_classes, num_classes + 1, dtype=torch.int64)
        self.images = 0

    @classmethod
    def of(cls, num_classes: int, ignore_index: int, absent: str) -> ConfusionMatrix:
        """An empty matrix."""
        return cls(num_classes, ignore_index, absent)  # type: ignore[arg-type]

    def count(self, prediction: Labels, target: Labels) -> np.ndarray:
        """Counts of a label map: ``(2, N)`` int64, cells of the flattened matrix and their pixels.

        Args:
            prediction: ``(H, W)`` integer labels; values outside ``0..C-1`` are always wrong.
            target: ``(H, W)`` integer labels in ``0..C-1``, or ``ignore_index``.

        Raises:
            ValueError: sizes differ, or a target label is neither a class nor ``ignore_index``.
        """
        predicted, true = (self._integers(values) for values in (prediction, target))
        if predicted.shape != true.shape:
            raise ValueError(f"prediction {predicted.shape} and target {true.shape} differ in size")
        if not true.size:
            return np.zeros((2, 0), np.int64)
        columns = self.num_classes + 1
        codes = self._row_starts(true)[true]
        codes += self._known(predicted)
        cells = np.bincount(codes.ravel(), minlength=(self.num_classes + 2) * columns)
        if cells[(self.num_classes + 1) * columns :].any():
            raise ValueError(self._range_message(true))
        filled = np.flatnonzero(cells[: self.num_classes * columns])
        return np.stack([filled, cells[filled]])

    def add(self, counts: np.ndarray) -> None:
        """Adds the result of :meth:`count`."""
        self.counts.view(-1)[torch.from_numpy(counts[0])] += torch.from_numpy(counts[1])
        self.images += 1

    def _row_starts(self, true: np.ndarray) -> np.ndarray:
        """True label -> offset of its row; ignored and invalid labels have separate rows."""
        size = max(self.ignore_index, self.num_classes) + 1
        if not 0 <= int(true.min()) <= int(true.max()) < size:
            raise ValueError(self._range_message(true))
        rows = np.full(size, self.num_classes + 1, dtype=np.int64)
        rows[: self.num_classes] = np.arange(self.num_classes)
        rows[self.ignore_index] = self.num_classes
        return rows * (self.num_classes + 1)

    def _known(self, predicted: np.ndarray) -> np.ndarray:
        """Predictions, with column ``C`` for values that are not a class."""
        if int(predicted.min()) >= 0 and int(predicted.max()) < self.num_classes:
            return predicted
        return np.where((predicted < 0) | (predicted >= self.num_classes), self.num_classes, predicted)

    def _range_message(self, true: np.ndarray) -> str:
        evaluated = true[true != self.ignore_index]
        return (
            f"target labels must lie in 0..{self.num_classes - 1} or be {self.ignore_index} (ignored); "
            f"got {int(evaluated.min())}..{int(evaluated.max())}"
        )

    @staticmethod
    def _integers(values: Tensor | np.ndarray) -> np.ndarray:
        array = values.detach().cpu().numpy() if isinstance(values, Tensor) else values
        return array if np.issubdtype(array.dtype, np.integer) else array.astype(np.int64)

    @property
    def target_pixels(self) -> Tensor:
        """``(C,)`` int64."""
        return self.counts.sum(dim=1)

    def iou(self) -> Tensor:
        """Intersection over union per class, ``(C,)`` float64 in ``[0, 1]``; NaN for absent classes."""
        return iou_of_counts(self.counts)

    def accuracy(self) -> Tensor:
        """Recall per class, ``(C,)`` float64 in ``[0, 1]``; NaN for classes without true pixels."""
        return self.counts.diagonal().double() / self.target_pixels

    def scores(self) -> dict[str, float]:
        """``mIoU``, ``mAcc``, ``aAcc`` (all pixels) and ``fwIoU`` (weighted by true pixels), in percent."""
        pixels = self.target_pixels.double()
        weighted = (pixels * self.iou().nan_to_num(0.0)).sum() / pixels.sum()
        values = {
            "mIoU": self.mean(self.iou()),
            "mAcc": self.mean(self.accuracy()),
            "aAcc": float(self.counts.diagonal().sum() / pixels.sum()),
            "fwIoU": float(weighted),
        }
        return {name: 100.0 * value for name, value in values.items()}

    def conventions(self) -> dict[str, float]:
        """mIoU by the conventions found in papers, in percent.

        ``absent_skip``: over classes in ground truth or prediction (mmseg; also older MaskFormer code, which
        sums over true classes and divides by true or predicted ones). ``absent_zero``: over
        all classes. ``true_only``: over classes in the ground truth (current detectron2).
        """
        iou = self.iou()
        values = {
            "absent_skip": iou.nanmean(),
            "absent_zero": iou.nan_to_num(0.0).mean(),
            "true_only": iou[self.target_pixels > 0].mean(),
        }
        return {f"mIoU_{name}": 100.0 * float(value) for name, value in values.items()}

    def figures(self, groups: Mapping[str, Sequence[int]]) -> dict[str, float]:
        """:meth:`scores`, :meth:`conventions`, and ``mIoU.GROUP``."""
        return {**self.scores(), **self.conventions(), **self.group_scores(groups)}

    def group_scores(self, groups: Mapping[str, Sequence[int]]) -> dict[str, float]:
        """``mIoU.GROUP`` for each subset of the labels, in percent."""
        return {f"mIoU.{name}": 100.0 * self.mean(self.iou()[list(labels)]) for name, labels in groups.items()}

    def by_class(self) -> dict[str, Tensor]:
        """``IoU`` and ``Acc``."""
        return {"IoU": self.iou(), "Acc": self.accuracy()}

    def mean(self, values: Tensor) -> float:
        """Mean over classes, with the rule for absent ones."""
        return float(values.nan_to_num(0.0).mean() if self.absent == "zero" else values.nanmean())


def iou_of_counts(counts: Tensor) -> Tensor:
    """Intersection over union per class, ``(C,)`` float64, of counts ``(C, C + 1)``; NaN for absent classes."""
    hits = counts.diagonal().double()
    return hits / (counts.sum(dim=1) + counts[:, : counts.shape[0]].sum(dim=0) - hits)


@METRICS.register_module()
class StreamingIoU(BaseMetric):
    """``ConfusionMatrix`` as an mmengine metric, without per-image storage; processes are summed at the end.

    The dataset's ``metainfo`` provides ``classes``, and optionally ``groups`` (name -> labels), each reported as
    ``mIoU.NAME``. Data samples are mmseg's, with ``pred_sem_seg`` and ``gt_sem_seg``.
    In distributed runs the test sampler must not pad by repeating samples:
    ``sampler=dict(type="DefaultSampler", shuffle=False, round_up=False)``.

    Args:
        ignore_index: as for ``ConfusionMatrix``.
        absent: as for ``ConfusionMatrix``.
        per_class: also return ``IoU.NAME`` and ``Acc.NAME`` for every class.
        **settings: as for mmengine's ``BaseMetric``.
    """

    def __init__(
        self, ignore_index: int = 255, absent: Absent = "skip", per_class: bool = False, **settings: Any
    ) -> None:
        super().__init__(**{"prefix": "seg", **settings})
        self.ignore_index = ignore_index
        self.absent: Absent = absent
        self.per_class = per_class
        self._matrix: ConfusionMatrix | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the dataset's classes."""
        classes = (self.dataset_meta or {}).get("classes")
        if not classes:
            raise ValueError("StreamingIoU needs a dataset with class names in its metainfo: dict(classes=...)")
        return tuple(classes)

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, Any]]) -> None:
        """Counts a batch; ``data_batch`` is unused."""
        if self._matrix is None:
            self._matrix = ConfusionMatrix(len(self.classes), self.ignore_index, self.absent)
        for sample in data_samples:
            prediction, target = (sample[key]["data"].squeeze(0) for key in ("pred_sem_seg", "gt_sem_seg"))
            self._matrix.update(prediction, target)

    def evaluate(self, size: int) -> dict[str, float]:
        """Sums over processes and returns the scores; ``size`` is the number of samples in the dataset."""
        matrix = self._matrix or ConfusionMatrix(len(self.classes), self.ignore_index, self.absent)
        images = torch.tensor([matrix.images])
        all_reduce(matrix.counts)
        all_reduce(images)
        self._matrix = None
        if int(images) != size:
            raise ValueError(
                f"{int(images)} label maps were counted for {size} samples; "
                "use sampler=dict(type='DefaultSampler', shuffle=False, round_up=False)"
            )
        scores = self.compute_metrics([matrix])
        return {f"{self.prefix}/{name}": value for name, value in scores.items()}

    def compute_metrics(self, results: list[ConfusionMatrix]) -> dict[str, float]:
        """Metrics of a confusion matrix, in percent."""
        (matrix,) = results
        scores = {**matrix.scores(), **matrix.group_scores((self.dataset_meta or {}).get("groups", {}))}
        if self.per_class:
            for kind, values in matrix.by_class().items():
                scores |= {f"{kind}.{name}": 100.0 * float(v) for name, v in zip(self.classes, values, strict=True)}
        return scores
