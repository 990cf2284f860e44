"""Labelled images as mmseg's data samples, and the table of benchmarks."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from helpers.labelled_images import CLASSES, SmallImages, ThresholdSegmenter, small_bank
from ovperc.core.structures import Background
from ovperc.data.benchmarks import BENCHMARKS, get_benchmark
from ovperc.data.segmentation.benchmark import SegmentationBenchmark
from ovperc.data.segmentation.dataset import SegmentationDataset, to_data_sample
from ovperc.training.compat import prepare_mmseg


@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_sample_holds_image_truth_and_sizes(order: str) -> None:
    item = SmallImages(3)[2]
    sample = to_data_sample(item, order)
    expected = item.image if order == "rgb" else item.image[..., ::-1]
    assert sample["inputs"].dtype == torch.uint8
    assert np.array_equal(sample["inputs"].permute(1, 2, 0).numpy(), expected)
    assert np.array_equal(sample["data_samples"].gt_sem_seg.data[0].numpy(), item.labels)
    assert sample["data_samples"].metainfo["ori_shape"] == item.labels.shape
    assert sample["data_samples"].metainfo["channel_order"] == order


def test_limit_takes_the_first_images() -> None:
    dataset = SegmentationDataset(SmallImages(5), limit=2)
    assert len(dataset) == 2 and dataset.metainfo["classes"] == CLASSES
    assert dataset[1]["data_samples"].img_path == "small-1"
    with pytest.raises(IndexError):
        dataset[2]
    assert len(SegmentationDataset(SmallImages(5), limit=99)) == 5


@pytest.mark.parametrize(
    ("image", "labels", "message"),
    [
        (np.zeros((4, 5), np.uint8), np.zeros((4, 5), np.uint8), r"\(H, W, 3\) uint8"),
        (np.zeros((4, 5, 3), np.float32), np.zeros((4, 5), np.uint8), r"\(H, W, 3\) uint8"),
        (np.zeros((4, 5, 3), np.uint8), np.zeros((5, 4), np.uint8), "does not match image"),
    ],
)
def test_images_and_label_maps_that_do_not_fit_are_refused(image: np.ndarray, labels: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        to_data_sample(SimpleNamespace(image=image, labels=labels, name="odd"))


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="limit"):
        SegmentationDataset(SmallImages(2), limit=0)
    with pytest.raises(ValueError, match="'rgb' or 'bgr'"):
        SegmentationDataset(SmallImages(2), channel_order="gbr")
    with pytest.raises(ValueError, match="empty"):
        SegmentationDataset(SmallImages(0))


def test_mmseg_model_reads_either_channel_order_and_any_size() -> None:
    prepare_mmseg()
    from ovperc.evaluation.mmseg_model import OpenVocabularySegmentor

    model = OpenVocabularySegmentor(ThresholdSegmenter(), small_bank())
    answers = []
    for order in ("rgb", "bgr"):
        items = [SegmentationDataset(SmallImages(3), channel_order=order)[index] for index in range(3)]
        batch = {key: [item[key] for item in items] for key in items[0]}
        answers.append([sample.pred_sem_seg.data for sample in model.test_step(batch)])
    assert [labels.shape[1] for labels in answers[0]] == [9, 10, 11]
    assert all(torch.equal(first, second) for first, second in zip(*answers, strict=True))
    with pytest.raises(NotImplementedError, match="training-free"):
        model.loss(None, [])


_WORLD = sorted(name for name, row in BENCHMARKS.items() if name.startswith("world-") and row.task == "segmentation")


@pytest.mark.parametrize("name", _WORLD)
def test_every_row_gives_labelled_images_that_its_words_fit(name: str) -> None:
    if name == "world-real":
        pytest.importorskip("skimage")
    row = get_benchmark(name)
    images = row.images(num_scenes=2)
    assert row.name == name and len(images) == 2
    assert row.vocabulary(images).names == tuple(images.classes)
    labels = to_data_sample(images[1])["data_samples"].gt_sem_seg.data
    inside = (labels < len(images.classes)) | (labels == row.ignore_index)
    assert bool(inside.all())


def test_background_of_a_row_is_label_zero() -> None:
    images = SimpleNamespace(classes=("background", "cat"))
    row = SegmentationBenchmark("voc", "", list, background=Background(("sky",)))
    assert row.vocabulary(images).names == ("background", "cat")
    assert row.vocabulary(images).owners == (0, 1)
