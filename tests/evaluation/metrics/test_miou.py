"""The streaming matrix against mmseg's metric and against counts by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from mmengine.logging import MMLogger

from ovperc.evaluation.metrics import ConfusionMatrix, StreamingIoU

CLASSES = ("sky", "grass", "brick", "lava", "never")


def label_maps(count: int, seed: int = 0) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Predictions and targets of odd sizes; a fifth of the targets ignored, the last class absent from both."""
    generator = torch.Generator().manual_seed(seed)
    pairs = []
    for index in range(count):
        size = (13 + index, 17)
        target = torch.randint(0, 4, size, generator=generator)
        wrong = torch.rand(size, generator=generator) < 0.3
        prediction = torch.where(wrong, torch.randint(0, 4, size, generator=generator), target)
        target[torch.rand(size, generator=generator) < 0.2] = 255
        pairs.append((prediction, target))
    return pairs


def data_samples(pairs: list[tuple[torch.Tensor, torch.Tensor]]) -> list[dict[str, dict[str, torch.Tensor]]]:
    return [{"pred_sem_seg": {"data": p[None]}, "gt_sem_seg": {"data": t[None]}} for p, t in pairs]


@pytest.mark.parametrize(("absent", "nan_to_num"), [("skip", None), ("zero", 0)])
def test_equals_mmseg(absent: str, nan_to_num: int | None) -> None:
    from ovperc.training.compat import prepare_mmseg

    prepare_mmseg()
    from mmseg.evaluation import IoUMetric

    MMLogger.get_instance("test_miou")
    pairs = label_maps(6)
    theirs = IoUMetric(iou_metrics=["mIoU"], nan_to_num=nan_to_num)
    ours = StreamingIoU(absent=absent)
    for metric in (theirs, ours):
        metric.dataset_meta = {"classes": CLASSES}
        for sample in data_samples(pairs):
            metric.process({}, [sample])
    expected, found = theirs.evaluate(6), ours.evaluate(6)
    for name in ("mIoU", "mAcc", "aAcc"):
        assert found[f"seg/{name}"] == pytest.approx(float(expected[name]), abs=0.006)  # theirs is rounded


def test_counts_by_hand() -> None:
    matrix = ConfusionMatrix(2)
    matrix.update(np.array([[0, 0, 1, 7]]), np.array([[0, 1, 1, 1]]))
    matrix.update(torch.tensor([[1, 0]]), torch.tensor([[255, 0]]))
    assert matrix.counts.tolist() == [[2, 0, 0], [1, 1, 1]]
    assert matrix.iou().tolist() == pytest.approx([2 / 3, 1 / 3])
    assert matrix.accuracy().tolist() == pytest.approx([1.0, 1 / 3])
    expected = {"mIoU": 50.0, "mAcc": 200 / 3, "aAcc": 60.0, "fwIoU": 100 * (0.4 * 2 / 3 + 0.6 / 3)}
    assert matrix.scores() == pytest.approx(expected)


def test_absent_class_is_skipped_or_zero() -> None:
    perfect = torch.tensor([[0, 1]])
    for absent, expected in (("skip", 100.0), ("zero", 200 / 3)):
        matrix = ConfusionMatrix(3, absent=absent)
        matrix.update(perfect, perfect)
        assert math.isnan(matrix.iou()[2])
        assert matrix.scores()["mIoU"] == pytest.approx(expected)


def test_conventions_by_hand() -> None:
    matrix = ConfusionMatrix(4)
    # Class 0 right, class 1 half taken for 2; 2 has no true pixel, 3 neither.
    matrix.update(np.array([[0, 0, 1, 2]]), np.array([[0, 0, 1, 1]]))
    expected = {"mIoU_absent_skip": 50.0, "mIoU_absent_zero": 37.5, "mIoU_true_only": 75.0}
    assert matrix.conventions() == pytest.approx(expected)


@pytest.mark.parametrize(("ignored", "dtype"), [(65535, np.uint16), (1, np.uint8), (255, np.int64)])
def test_any_ignored_label_and_type(ignored: int, dtype: type) -> None:
    rng = np.random.default_rng(0)
    target, prediction = rng.integers(0, 3, (20, 30)).astype(dtype), rng.integers(-1, 5, (20, 30))
    target[3:6] = ignored
    expected = np.zeros((3, 4), dtype=int)
    for true, predicted in zip(target.ravel().tolist(), prediction.ravel().tolist(), strict=True):
        if true != ignored:
            expected[true, predicted if 0 <= predicted < 3 else 3] += 1
    matrix = ConfusionMatrix(3, ignored)
    matrix.update(prediction, target)
    assert matrix.counts.tolist() == expected.tolist()


def test_order_and_batching_do_not_matter() -> None:
    pairs = label_maps(5)
    forward, backward = ConfusionMatrix(5), ConfusionMatrix(5)
    for prediction, target in pairs:
        forward.update(prediction, target)
    for prediction, target in reversed(pairs):
        backward.update(prediction.to(torch.int32), target.numpy())
    assert torch.equal(forward.counts, backward.counts)


def test_adapter_forgets_between_evaluations_and_names_classes() -> None:
    metric = StreamingIoU(per_class=True)
    metric.dataset_meta = {"classes": CLASSES}
    first, second = label_maps(3, seed=1), label_maps(3, seed=2)
    metric.process({}, data_samples(first))
    metric.evaluate(3)
    metric.process({}, data_samples(second))
    found = metric.evaluate(3)
    matrix = ConfusionMatrix(5)
    for prediction, target in second:
        matrix.update(prediction, target)
    assert found["seg/mIoU"] == matrix.scores()["mIoU"]
    assert found["seg/IoU.grass"] == 100 * matrix.iou()[1]


@pytest.mark.parametrize(
    ("prediction", "target", "message"),
    [
        (torch.zeros(2, 2), torch.zeros(2, 3), "differ in size"),
        (torch.zeros(1, 2), torch.tensor([[0, 9]]), r"0\.\.1 or be 255"),
    ],
)
def test_bad_label_maps_are_refused(prediction: torch.Tensor, target: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ConfusionMatrix(2).update(prediction, target)


def test_samples_counted_twice_are_refused() -> None:
    metric = StreamingIoU()
    metric.dataset_meta = {"classes": CLASSES}
    metric.process({}, data_samples(label_maps(3)))
    with pytest.raises(ValueError, match="round_up=False"):
        metric.evaluate(2)


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="'skip' or 'zero'"):
        ConfusionMatrix(3, absent="ignore")
    with pytest.raises(ValueError, match="at least 1"):
        ConfusionMatrix(0)
    with pytest.raises(ValueError, match="ignore_index must be non-negative"):
        ConfusionMatrix(3, ignore_index=-1)
    with pytest.raises(ValueError, match="class names in its metainfo"):
        StreamingIoU().process({}, [])
