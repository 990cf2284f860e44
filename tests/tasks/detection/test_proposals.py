"""Regions that segment-anything finds by itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helpers.tiny_models import tiny_clip
from ovperc.backbones.sam import SamBackbone
from ovperc.io.coco import decode_rle
from ovperc.tasks.detection.method import DetectionMethod
from ovperc.tasks.detection.predictor import DetPredictor
from ovperc.tasks.detection.proposals import SamEverything, coarse_boxes, grid_points, mask_box
from ovperc.tasks.detection.region_detector import RegionDetector, VlmReadout
from ovperc.tasks.predictor import PredictorInfo
from ovperc.text.encoder import TextEncoder
from ovperc.text.region_scores import Fusion
from ovperc.tiling import Tiler


def everything(**options) -> SamEverything:
    from helpers.tiny_sam import tiny_sam

    settings = {"points": 4, "min_quality": -10.0, "min_stability": 0.0, "max_area": 1.0, "min_area": 0.0, **options}
    return SamEverything(backbone=SamBackbone(tiny_sam()), **settings)


def image(size_hw: tuple[int, int] = (60, 90)) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*size_hw, 3), dtype=np.uint8)


def test_regions_have_the_boxes_of_their_masks() -> None:
    found = everything(max_regions=9).propose(image())
    assert 0 < len(found.boxes) <= 9
    codes = found.masks.codes(range(len(found.boxes)))
    for box, code in zip(found.boxes.tolist(), codes, strict=True):
        mask = decode_rle(code)
        assert mask.shape == (60, 90) and tuple(box) == mask_box(mask)
    assert found.coarse.shape[1:] == (32, 48)
    assert torch.all(found.objectness[:-1] >= found.objectness[1:])


def test_a_quality_that_nothing_reaches_leaves_nothing() -> None:
    found = everything(min_quality=1e6).propose(image())
    assert found.boxes.shape == (0, 4) and found.masks.codes([]) == ()


def test_grid_and_boxes() -> None:
    assert grid_points(2, (10, 20)).tolist() == [[5, 2.5], [15, 2.5], [5, 7.5], [15, 7.5]]
    masks = torch.zeros(2, 6, 8, dtype=torch.bool)
    masks[0, 1:4, 2:7] = True
    assert coarse_boxes(masks).tolist() == [[2, 1, 7, 4], [0, 0, 0, 0]]
    assert mask_box(masks[0].numpy()) == (2, 1, 7, 4) and mask_box(masks[1].numpy()) == (0, 0, 0, 0)


@pytest.mark.parametrize("kind", ["dense", "crops"])
def test_detection_without_training(kind: str) -> None:
    clip = tiny_clip()
    detector = RegionDetector(
        clip,
        Tiler(short_side_px=48, whole_patches=True),
        proposer=everything(),
        vlm=VlmReadout(kind, crop_px=48),
        fusion=Fusion("vlm", objectness=0.5),
        max_detections=10,
    )
    info = PredictorInfo("sam_regions", "random", clip.arch, clip.fingerprint, "cpu", "float32")
    one = DetPredictor(detector, TextEncoder(clip.text, clip.fingerprint, ("{}",)), info)
    answer = one.predict(image(), "red star, blue ring")
    assert 0 < len(answer) <= 10 and len(answer.masks) == len(answer)
    with pytest.raises(ValueError, match="posterior"):
        RegionDetector(clip, Tiler(short_side_px=48, whole_patches=True), proposer=everything(points=2)).detect(
            one.encode(image()), one.bank("red star"), [False]
        )


def test_methods_are_checked() -> None:
    tiler = {"type": "Tiler", "short_side_px": 64}
    with pytest.raises(ValueError, match="policy"):
        DetectionMethod(name="x", tiler=tiler, fusion={"polcy": "fvlm"})
    with pytest.raises(ValueError, match="fvlm"):
        DetectionMethod(name="x", tiler=tiler, fusion={"policy": "fvml"})
    with pytest.raises(ValueError, match="nms_iou"):
        DetectionMethod(name="x", tiler=tiler, nms_iou=0.0)
    with pytest.raises(ValueError, match="proposer"):
        DetectionMethod(name="x", tiler=tiler, proposer={})
    with pytest.raises(ValueError, match="needs trained heads or a proposer"):
        RegionDetector(tiny_clip(), Tiler(short_side_px=48))
