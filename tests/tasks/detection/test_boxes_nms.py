"""Boxes, anchors and suppression against plain implementations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import box_iou, nms

from ovperc.core.boxes import PyramidAnchors, as_boxes, clip_boxes, enlarge_boxes
from ovperc.tasks.detection.nms import shared_box_nms


def random_boxes(count: int, seed: int = 0, side: float = 100.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * side
    return torch.cat([corner, corner + 1 + torch.rand(count, 2, generator=generator) * side / 2], dim=1)


def naive_nms(boxes, scores, iou, keep, threshold=0.0):
    """Per class, greedy, with a loop; then the best of all classes; ties by row, then class."""
    overlap = box_iou(boxes, boxes)
    survivors = []
    for label in range(scores.shape[1]):
        kept: list[int] = []
        for row in sorted(range(len(boxes)), key=lambda r: (-float(scores[r, label]), r)):
            if scores[row, label] > threshold and all(overlap[row, other] <= iou for other in kept):
                kept.append(row)
        survivors += [(-float(scores[row, label]), row, label) for row in kept]
    chosen = sorted(survivors)[:keep]
    return [row for _, row, _ in chosen], [label for _, _, label in chosen]


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(("rows", "classes", "keep"), [(60, 9, 20), (60, 9, 10_000), (1, 1, 5), (40, 1, 40)])
def test_nms_equals_naive(rows: int, classes: int, keep: int, ties: bool) -> None:
    scores = torch.rand(rows, classes, generator=torch.Generator().manual_seed(1))
    scores = (scores * 5).round() / 5 if ties else scores
    boxes = random_boxes(rows)
    found = shared_box_nms(boxes, scores, 0.4, keep, 0.1)
    assert [part.tolist() for part in found] == list(naive_nms(boxes, scores, 0.4, keep, 0.1))


def test_nms_of_one_class_equals_torchvision() -> None:
    boxes, scores = random_boxes(200, 3), torch.rand(200, generator=torch.Generator().manual_seed(2))
    rows, _ = shared_box_nms(boxes, scores[:, None], 0.5, 1000)
    assert torch.equal(rows, nms(boxes, scores, 0.5))


def test_nms_of_nothing_and_bad_input() -> None:
    assert [len(part) for part in shared_box_nms(torch.zeros(0, 4), torch.zeros(0, 3))] == [0, 0]
    assert len(shared_box_nms(random_boxes(3), torch.zeros(3, 2))[0]) == 0
    with pytest.raises(ValueError, match="finite"):
        shared_box_nms(random_boxes(2), torch.tensor([[0.5], [float("nan")]]))
    with pytest.raises(ValueError, match=r"boxes must be \(R, 4\)"):
        shared_box_nms(random_boxes(2), torch.rand(3, 2))


def test_boxes_are_checked() -> None:
    assert as_boxes([]).shape == (0, 4)
    assert as_boxes(np.array([[0, 0, 2, 3]])).dtype == torch.float32
    with pytest.raises(ValueError, match=r"rows \[1\]"):
        as_boxes([[0, 0, 1, 1], [0, 0, float("nan"), 1]])
    with pytest.raises(ValueError, match="width, height"):
        as_boxes([[10, 10, 5, 20]])
    with pytest.raises(ValueError, match=r"\(N, 4\)"):
        as_boxes([[1, 2, 3]])


def test_clip_and_enlarge() -> None:
    boxes = torch.tensor([[-5.0, 2.0, 8.0, 20.0], [30.0, 30.0, 40.0, 40.0]])
    assert clip_boxes(boxes, (10, 20)).tolist() == [[0, 2, 8, 10], [20, 10, 20, 10]]
    assert enlarge_boxes(torch.tensor([[4.0, 4.0, 6.0, 8.0]]), 2.0, (10, 20)).tolist() == [[3, 2, 7, 10]]


@pytest.mark.parametrize("stride", [3.5, 7.0, 8.0, 14.0])
def test_anchors_are_centred_on_cells_of_any_stride(stride: float) -> None:
    maps = torch.zeros(2, 1, 6, 4)
    images = ImageList(torch.zeros(2, 3, 6, 4), [(6, 4)] * 2)
    anchors = PyramidAnchors((stride,), 8.0, (0.5, 1.0, 2.0))(images, [maps])
    assert len(anchors) == 2 and anchors[0].shape == (6 * 4 * 3, 4)
    centres = (anchors[0][:, :2] + anchors[0][:, 2:]) / 2
    assert torch.allclose(centres[-1], torch.tensor([3.5 * stride, 5.5 * stride]))
    sides = anchors[0][:3, 2:] - anchors[0][:3, :2]
    assert torch.allclose(sides.prod(dim=1), torch.full((3,), (8 * stride) ** 2))
    assert torch.allclose(sides[:, 1] / sides[:, 0], torch.tensor([0.5, 1.0, 2.0]))


def test_anchors_of_whole_strides_are_torchvisions_up_to_half_a_cell_and_rounding() -> None:
    maps = torch.zeros(1, 1, 5, 7)
    images = ImageList(torch.zeros(1, 3, 40, 56), [(40, 56)])
    theirs = AnchorGenerator(((64,),), ((0.5, 1.0, 2.0),))(images, [maps])[0]
    ours = PyramidAnchors((8.0,), 8.0)(images, [maps])[0]
    assert (ours - 4 - theirs).abs().max() <= 0.5
