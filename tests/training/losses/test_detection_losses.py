"""Losses of region heads by hand and against torchvision."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F
from torchvision.models.detection.roi_heads import fastrcnn_loss

from ovperc.data.detection.batch import BACKGROUND, IGNORE
from ovperc.training.losses.detection import box_loss, embedding_distillation, mask_loss, region_class_loss


def test_class_loss_by_hand() -> None:
    classes, background = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([0.0, 1.0])
    labels = torch.tensor([0, BACKGROUND])
    first = -math.log(math.e / (math.e + 1 + 1))
    second = -math.log(math.e / (1 + math.e**2 + math.e))
    assert float(region_class_loss(classes, background, labels)) == pytest.approx((first + second) / 2, rel=1e-5)
    weighted = region_class_loss(classes, background, labels, background_weight=0.6)
    assert float(weighted) == pytest.approx((first + 0.6 * second) / 2, rel=1e-5)
    ignored = region_class_loss(classes, background, torch.tensor([0, IGNORE]))
    assert float(ignored) == pytest.approx(first, rel=1e-5)
    assert float(region_class_loss(classes[:0], background[:0], labels[:0])) == 0


def test_novel_classes_are_out_of_the_softmax_or_count_one() -> None:
    classes, background, labels = torch.tensor([[1.0, 5.0]]), torch.zeros(1), torch.tensor([0])
    novel = torch.tensor([False, True])
    masked = region_class_loss(classes, background, labels, novel=novel)
    zero = region_class_loss(classes, background, labels, novel=novel, novel_logit="zero")
    assert float(masked) == pytest.approx(-math.log(math.e / (math.e + 1)), rel=1e-5)
    assert float(zero) == pytest.approx(-math.log(math.e / (math.e + 2)), rel=1e-5)


def test_one_class_losses_equal_torchvision() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, deltas = torch.randn(9, 2, generator=generator), torch.randn(9, 8, generator=generator)
    wanted_deltas = torch.randn(9, 4, generator=generator)
    labels = torch.tensor([0, 1, 1, 0, 0, 1, 0, 1, 0])
    wanted_class, wanted_box = fastrcnn_loss(logits, deltas, [labels], [wanted_deltas])
    assert torch.allclose(box_loss(deltas[:, 4:], wanted_deltas, labels > 0), wanted_box)
    ours = region_class_loss(logits[:, 1:], logits[:, 0], labels - 1)
    assert torch.allclose(ours, wanted_class)
    assert float(box_loss(deltas[:, 4:], wanted_deltas, labels > 5)) == 0


def test_mask_loss() -> None:
    logits, wanted = torch.tensor([[[0.0, 2.0]]]), torch.tensor([[[1.0, 0.0]]])
    assert float(mask_loss(logits, wanted)) == pytest.approx((math.log(2) + math.log(1 + math.e**2)) / 2, rel=1e-5)
    assert float(mask_loss(logits[:0], wanted[:0])) == 0


def test_distillation_compares_unit_rows() -> None:
    students, teachers = torch.tensor([[3.0, 0.0], [1.0, 1.0]]), torch.tensor([[0.0, 2.0], [1.0, 1.0]])
    assert float(embedding_distillation(students, teachers)) == pytest.approx(1.0)
    assert float(embedding_distillation(students, teachers, "cosine")) == pytest.approx(0.5)
    assert torch.allclose(
        embedding_distillation(students, teachers), (F.normalize(students) - F.normalize(teachers)).abs().sum(1).mean()
    )
    with pytest.raises(ValueError, match="l1"):
        embedding_distillation(students, teachers, "l2")
