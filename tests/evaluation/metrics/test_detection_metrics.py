"""Average precision: COCO's equals pycocotools run by hand, LVIS's a plain reading of its rules."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ovperc.data.detection.detections import ImageDetections
from ovperc.data.detection.sample import DetectionTruth
from ovperc.evaluation.metrics.detection import evaluate_coco
from ovperc.evaluation.metrics.detection_lvis import evaluate_lvis
from ovperc.io.coco import encode_rle

SIZE = 64
CATEGORIES = (3, 7, 20, 21, 90)
GROUPS = {"base": (0, 2, 4), "novel": (1, 3)}


def random_box(rng):
    x, y = rng.uniform(0, SIZE - 12, 2)
    w, h = rng.uniform(4, 40, 2)
    return np.array([x, y, min(SIZE, x + w), min(SIZE, y + h)])


def box_mask(box):
    mask = np.zeros((SIZE, SIZE), bool)
    x0, y0, x1, y1 = np.round(box).astype(int)
    mask[y0:y1, x0:x1] = True
    return mask


def random_set(seed, images=8, federated=False, crowds=False):
    """Annotations and detections near them, near misses, wrong labels, and empty images."""
    rng = np.random.default_rng(seed)
    rows, annotations, found = [], [], []
    for number in range(images):
        image_id = 10 * number + 5
        row = {"id": image_id, "height": SIZE, "width": SIZE}
        if federated:
            row["neg_category_ids"] = rng.choice(CATEGORIES, 2, replace=False).tolist()
            row["not_exhaustive_category_ids"] = rng.choice(CATEGORIES, 1).tolist()
        rows.append(row)
        boxes, labels = [], []
        for _ in range(rng.integers(0, 6)):
            box, label = random_box(rng), int(rng.integers(4))  # the last class never occurs
            mask = box_mask(box)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": CATEGORIES[label],
                    "bbox": [*box[:2], *(box[2:] - box[:2])],
                    "area": float(mask.sum()),
                    "segmentation": encode_rle(mask),
                    "iscrowd": int(crowds and rng.random() < 0.2),
                }
            )
            for _ in range(rng.integers(0, 4)):
                boxes.append(np.clip(box + rng.normal(0, 2.5, 4), 0, SIZE))
                labels.append(label if rng.random() < 0.8 else int(rng.integers(5)))
        for _ in range(rng.integers(0, 4)):
            boxes.append(random_box(rng))
            labels.append(int(rng.integers(5)))
        if boxes and rng.random() < 0.9:
            array = np.array(boxes)
            array[:, 2:] = np.maximum(array[:, 2:], array[:, :2] + 1)
            scores = np.round(rng.random(len(boxes)), 2)  # with ties
            masks = tuple(encode_rle(box_mask(box)) for box in array)
            found.append(ImageDetections(image_id, array, scores, np.array(labels), masks))
    names = tuple(f"class {index}" for index in range(5))
    return DetectionTruth(tuple(rows), tuple(annotations), CATEGORIES, names, GROUPS), found


def by_hand(truth, found, kind):
    """pycocotools as its own demo calls it; AP50 by class."""
    rows = []
    for image in found:
        for box, score, label, mask in zip(image.boxes, image.scores, image.labels, image.masks, strict=True):
            row = {"image_id": image.image_id, "category_id": CATEGORIES[label], "score": float(score)}
            rows.append({**row, "segmentation": mask} if kind == "segm" else row | {"bbox": xywh(box)})
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = truth.document()
        coco.createIndex()
        run = COCOeval(coco, coco.loadRes(rows), kind)
        run.evaluate()
        run.accumulate()
        run.summarize()
    return run.stats[:3] * 100, [run.eval["precision"][0, :, label, 0, 2].mean() for label in range(len(CATEGORIES))]


def xywh(box):
    return [float(box[0]), float(box[1]), float(box[2] - box[0]), float(box[3] - box[1])]


@pytest.mark.parametrize("kind", ["bbox", "segm"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_coco_equals_pycocotools(kind, seed):
    truth, found = random_set(seed, crowds=True)
    scores = evaluate_coco(truth, found, kind)
    means, ap50 = by_hand(truth, found, kind)
    assert [scores.scores()[name] for name in ("AP", "AP50", "AP75")] == pytest.approx(means.tolist())
    assert scores.ap50.tolist() == pytest.approx(ap50)
    for group, labels in GROUPS.items():
        present = [ap50[label] for label in labels if ap50[label] > -1]
        assert scores.scores()[f"AP50.{group}"] == pytest.approx(100 * np.mean(present))


def reference_lvis(truth, found, kind, limits=(0, 1e10), cut=300):
    """LVIS's rules, one class and threshold at a time, on lists; ``(T, C)`` mean precisions."""
    table = np.full((10, len(CATEGORIES)), -1.0)
    images = {row["id"]: row for row in truth.images}
    kept = []
    for image in found:
        order = sorted(range(len(image.scores)), key=lambda i, s=image.scores: -s[i])[:cut]
        kept += [(image.image_id, image.scores[i], image.labels[i], image.boxes[i], image.masks[i]) for i in order]
    for label, category in enumerate(CATEGORIES):
        for step, threshold in enumerate(np.linspace(0.5, 0.95, 10)):
            events, total = [], 0
            for image_id in sorted(images):
                row = images[image_id]
                gts = [a for a in truth.annotations if (a["image_id"], a["category_id"]) == (image_id, category)]
                dts = [d for d in kept if d[0] == image_id and d[2] == label]
                if not gts and category not in row["neg_category_ids"]:
                    continue
                gts.sort(key=lambda a: not limits[0] <= a["area"] <= limits[1])
                total += sum(limits[0] <= a["area"] <= limits[1] for a in gts)
                taken = set()
                for _, score, _, box, mask in sorted(dts, key=lambda d: -d[1]):
                    best, overlap = None, threshold
                    for index, gt in enumerate(gts):
                        ignored = not limits[0] <= gt["area"] <= limits[1]
                        if index in taken:
                            continue
                        if best is not None and ignored and limits[0] <= gts[best]["area"] <= limits[1]:
                            break
                        shapes = ([mask], [gt["segmentation"]]) if kind == "segm" else ([xywh(box)], [gt["bbox"]])
                        value = coco_mask.iou(*shapes, [0])[0, 0]
                        if value >= overlap:
                            best, overlap = index, value
                    if best is not None:
                        taken.add(best)
                        if limits[0] <= gts[best]["area"] <= limits[1]:
                            events.append((score, True))
                        continue
                    area = coco_mask.area(mask) if kind == "segm" else xywh(box)[2] * xywh(box)[3]
                    if category not in row["not_exhaustive_category_ids"] and limits[0] <= area <= limits[1]:
                        events.append((score, False))
            if total:
                table[step, label] = interpolated(events, total)
    return table


def interpolated(events, total):
    events = sorted(events, key=lambda e: -e[0])
    hits = np.cumsum([hit for _, hit in events])
    precision = hits / np.arange(1, len(events) + 1)
    recall = hits / total
    return np.mean([max(precision[recall >= r], default=0.0) for r in np.linspace(0, 1, 101)])


@pytest.mark.parametrize("kind", ["bbox", "segm"])
@pytest.mark.parametrize("seed", [0, 3, 4])
def test_lvis_equals_its_rules(kind, seed):
    truth, found = random_set(seed, federated=True)
    scores = evaluate_lvis(truth, found, kind)
    table = reference_lvis(truth, found, kind)
    assert scores.classes.ap.tolist() == pytest.approx(table.mean(axis=0).tolist())
    assert scores.classes.ap50.tolist() == pytest.approx(table[0].tolist())
    small = reference_lvis(truth, found, kind, (0, 32**2))
    assert scores.by_area["s"].tolist() == pytest.approx(small.mean(axis=0).tolist())
    assert scores.classes.ap[4] == -1
    present = [value for value in table.mean(axis=0)[list(GROUPS["base"])] if value > -1]
    assert scores.scores()["APbase"] == pytest.approx(100 * np.mean(present))


def federated_case(**lists):
    rows = tuple(
        {"id": number, "height": SIZE, "width": SIZE, "neg_category_ids": [], "not_exhaustive_category_ids": []}
        | lists.get(f"image{number}", {})
        for number in (1, 2, 3)
    )
    mask = encode_rle(box_mask(np.array([0, 0, 20, 20])))
    annotation = {"id": 1, "image_id": 1, "category_id": 3, "bbox": [0, 0, 20, 20], "area": 400.0, "iscrowd": 0}
    truth = DetectionTruth(rows, ({**annotation, "segmentation": mask},), (3,), ("cup",), {"r": (0,)})
    box = np.array([[0.0, 0, 20, 20]])
    hit = ImageDetections(1, box, np.array([0.5]), np.array([0]), (mask,))
    stray = ImageDetections(2, box, np.array([0.9]), np.array([0]), (mask,))
    return truth, [hit, stray]


def test_lvis_by_hand():
    truth, found = federated_case()
    assert evaluate_lvis(truth, found).scores()["APr"] == pytest.approx(100)  # image 2 is not judged on cups
    truth, found = federated_case(image2={"neg_category_ids": [3]})
    assert evaluate_lvis(truth, found).scores()["AP"] == pytest.approx(50)  # a false alarm before the hit
    truth, found = federated_case(image2={"neg_category_ids": [3], "not_exhaustive_category_ids": [3]})
    assert evaluate_lvis(truth, found).scores()["AP"] == pytest.approx(100)


def test_lvis_cuts_by_image():
    truth, (hit, _) = federated_case()
    boxes = np.repeat(hit.boxes + 30, 300, axis=0)
    many = ImageDetections(
        1,
        np.concatenate([boxes, hit.boxes]),
        np.concatenate([np.full(300, 0.9), hit.scores]),
        np.zeros(301, np.int64),
        (encode_rle(box_mask(np.array([30, 30, 50, 50]))),) * 300 + hit.masks,
    )
    assert evaluate_lvis(truth, [many]).scores()["AP"] == 0
    assert evaluate_lvis(truth, [many], max_detections=301).scores()["AP"] == pytest.approx(100 / 301, rel=1e-3)


def test_nothing_found_and_nothing_there():
    truth, _ = random_set(0)
    assert evaluate_coco(truth, []).scores()["AP50"] == 0
    bare = DetectionTruth(truth.images, (), CATEGORIES, truth.names, GROUPS)
    assert np.isnan(evaluate_coco(bare, []).scores()["AP50"])


def test_order_of_images_does_not_matter():
    truth, found = random_set(5)
    assert evaluate_coco(truth, found).scores() == evaluate_coco(truth, found[::-1]).scores()


def test_bad_detections_and_annotations():
    truth, found = random_set(1)
    with pytest.raises(ValueError, match="two entries"):
        evaluate_coco(truth, [found[0], found[0]])
    box = np.zeros((1, 4))
    with pytest.raises(ValueError, match="image 999, which is not in"):
        evaluate_coco(truth, [ImageDetections(999, box, np.ones(1), np.zeros(1, int))])
    with pytest.raises(ValueError, match=r"must lie in 0\.\.4"):
        evaluate_coco(truth, [ImageDetections(5, box, np.ones(1), np.full(1, 5))])
    with pytest.raises(ValueError, match="boxes alone"):
        evaluate_coco(truth, [ImageDetections(5, box, np.ones(1), np.zeros(1, int))], "segm")
    with pytest.raises(ValueError, match="not finite"):
        ImageDetections(5, np.full((1, 4), np.nan), np.ones(1), np.zeros(1, int))
    with pytest.raises(ValueError, match="no neg_category_ids"):
        evaluate_lvis(truth, found)
    with pytest.raises(ValueError, match="0 categories"):
        DetectionTruth((), (), (), ())


def test_detections_survive_json():
    _, found = random_set(2)
    again = ImageDetections.from_plain(found[0].to_plain())
    assert np.array_equal(again.boxes, found[0].boxes)
    assert again.masks == found[0].masks
