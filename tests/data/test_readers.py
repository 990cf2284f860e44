"""Every benchmark: prepared from its true layout, read through mmseg's listing, scored as it was drawn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.benchmark_fixtures import make_fixture
from ovperc.core.errors import ImageError
from ovperc.data.benchmarks import get_benchmark
from ovperc.data.layout import LayoutError
from ovperc.data.prepare import CONVERSIONS, conversion
from ovperc.data.prepare.preparation import prepare
from ovperc.data.segmentation.eval_settings import FAMILY
from ovperc.data.segmentation.sets import SEGMENTATION_SETS
from ovperc.tasks.methods import list_methods, load_method
from ovperc.training.compat import prepare_mmseg

BENCHMARKS = sorted(row.name for row in SEGMENTATION_SETS)


@pytest.fixture(autouse=True)
def mmseg():
    prepare_mmseg()


def open_tiny(name, tmp_path):
    """The benchmark on a prepared tiny copy, and what was drawn by sample name."""
    fixture = make_fixture(name, tmp_path)
    assert prepare(fixture.row, tmp_path, progress=False).ready
    return get_benchmark(name).images(root=str(tmp_path), partial=True), fixture


@pytest.mark.parametrize("name", BENCHMARKS)
def test_labels_are_those_that_were_drawn(name, tmp_path):
    images, fixture = open_tiny(name, tmp_path)
    row = get_benchmark(name)
    assert [item.name for item in map(images.__getitem__, range(len(images)))] == sorted(fixture.labels)
    assert not images.complete
    for index in range(len(images)):
        item = images[index]
        drawn = fixture.labels[item.name]
        expected = np.where(drawn < 0, row.ignore_index, drawn)
        assert np.array_equal(item.labels, expected)
        assert item.image.shape == (*item.labels.shape, 3) and item.image.dtype == np.uint8
    assert row.vocabulary(images).names == tuple(images.classes)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_mmseg_lists_the_files_of_the_layout(name, tmp_path):
    from mmseg.datasets import BaseSegDataset

    _, fixture = open_tiny(name, tmp_path)
    layout = fixture.layout
    listing = layout.list_file(tmp_path)
    dataset = BaseSegDataset(
        data_prefix={
            "img_path": str(layout.image_folder(tmp_path)),
            "seg_map_path": str(layout.annotation_folder(tmp_path)),
        },
        img_suffix=layout.image_suffix,
        seg_map_suffix=layout.annotation_suffix,
        pipeline=[],
        **({"ann_file": str(listing)} if listing else {}),
    )
    entries = [dataset.get_data_info(index) for index in range(len(dataset))]
    listed = {(Path(entry["img_path"]), Path(entry["seg_map_path"])) for entry in entries}
    ours = {(sample.image, sample.annotation) for sample in layout.samples(tmp_path)}
    if layout.annotated_only:
        listed = {pair for pair in listed if pair[1].is_file()}
    assert ours == listed


def test_an_incomplete_copy_is_refused_unless_allowed(tmp_path):
    make_fixture("voc21", tmp_path)
    row = get_benchmark("voc21")
    with pytest.raises(LayoutError, match=r"expected 1449 samples, found 3.*--allow-partial"):
        row.images(root=str(tmp_path))
    (tmp_path / "SegmentationClass/2007_000042.png").unlink()
    with pytest.raises(LayoutError, match=r"1 annotations are missing: SegmentationClass/2007_000042\.png"):
        row.images(root=str(tmp_path))
    assert len(row.images(root=str(tmp_path), partial=True)) == 2
    with pytest.raises(LayoutError, match="OVPERC_DATA"):
        row.images()


def test_an_unfinished_conversion_is_refused_even_if_files_are_there(tmp_path):
    make_fixture("pc459", tmp_path)
    prepare(get_benchmark("pc459"), tmp_path, progress=False)
    conversion.journal_path(tmp_path, "pc459").write_text("")
    with pytest.raises(LayoutError, match="unfinished"):
        get_benchmark("pc459").images(root=str(tmp_path), partial=True)
    assert set(CONVERSIONS) == {get_benchmark(name).source.conversion for name in BENCHMARKS} - {""}


def test_class_list_and_label_map_of_other_lengths_are_refused(tmp_path):
    make_fixture("ade150", tmp_path)
    row = get_benchmark("ade150")
    with pytest.raises(LayoutError, match="names 150 labels, label map 'voc21' has 21"):
        row.images(root=str(tmp_path), partial=True, label_map="voc21")


def test_a_cut_off_image_is_an_error_with_its_name_and_size(tmp_path):
    images, _ = open_tiny("ade150", tmp_path)
    path = tmp_path / "images/validation/ADE_val_00000002.jpg"
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(ImageError, match=r"cannot read .*ADE_val_00000002\.jpg' of 700 bytes"):
        images[1]
    path.write_bytes(b"")
    with pytest.raises(ImageError, match="is an empty file"):
        images[1]


def test_exif_rotation_is_not_applied(tmp_path):
    images, fixture = open_tiny("ade150", tmp_path)
    path = tmp_path / "images/validation/ADE_val_00000001.jpg"
    with Image.open(path) as stored:
        exif = stored.getexif()
        exif[0x0112] = 6
        stored.save(path, exif=exif)
    assert images[0].image.shape[:2] == fixture.labels["ADE_val_00000001"].shape


def test_grey_images_get_three_channels(tmp_path):
    images, _ = open_tiny("coco_stuff171", tmp_path)
    grey = images[1].image
    assert grey.shape[2] == 3 and np.array_equal(grey[..., 0], grey[..., 2])


def test_threshold_and_words_follow_the_method(tmp_path):
    images, _ = open_tiny("voc21", tmp_path)
    row = get_benchmark("voc21")
    sclip, pamr = row.vocabulary(images, "sclip"), row.vocabulary(images, "naclip_pamr")
    assert sclip.background.threshold == 0.1 and len(sclip.background.words) == 26
    assert pamr.background == sclip.background
    assert row.vocabulary(images, "clearclip").background.threshold == 0.5
    assert row.vocabulary(images, "own_method").background.words == ("background",)
    assert row.vocabulary(images, "sclip", threshold=0.3).background.threshold == 0.3
    with pytest.raises(ValueError, match="has no background"):
        get_benchmark("voc20").vocabulary(images, "sclip", threshold=0.3)


def eval_settings(method, benchmark):
    return get_benchmark(benchmark).settings_of(method)


def test_protocols_are_of_known_benchmarks_and_methods():
    methods = {method for row in SEGMENTATION_SETS for method in row.settings}
    assert set(FAMILY.values()) <= methods <= set(list_methods("segmentation"))
    assert eval_settings("sclip", "voc21").overrides() == {"classifier.logit_scale": 65.0}
    assert eval_settings("naclip_pamr", "voc21").overrides() == {"tiler.crop_px": 0, "tiler.stride_px": 0}
    assert eval_settings("sclip", "world-base").overrides() == {}
    assert eval_settings("trident_sam", "cityscapes").overrides() == {
        "tiler.short_side_px": 688,
        "splice.aggregator.cos_factor": 3.0,
        "splice.aggregator.keep_negative": False,
        "refiner.coarse_threshold": 0.1,
    }


def test_every_setting_is_one_that_the_method_has():
    for method in list_methods("segmentation"):
        for name in BENCHMARKS:
            for key, value in eval_settings(method, name).overrides().items():
                config = load_method(method, {key: value})
                first, *rest = key.split(".")
                found = getattr(config, first)
                for part in rest:
                    found = found[part]
                assert found == value


def test_dashes_and_underscores_name_the_same_benchmark():
    assert get_benchmark("coco-object") is get_benchmark("coco_object")
    assert get_benchmark("world_base").name == "world-base"
    assert replace(get_benchmark("voc21"), name="x").needs_data
