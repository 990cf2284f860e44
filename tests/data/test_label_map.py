"""Label maps against plain look-ups and mmseg's loader."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ovperc.data.annotations import AnnotationError, encode_annotation, read_annotation
from ovperc.data.label_map import LabelMap, LabelRangeError, list_label_maps, load_label_map
from ovperc.text.class_names import list_class_names, load_class_names

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("name", list_label_maps())
def test_every_map_equals_its_data_file(name):
    path = Path(__file__).parents[2] / "ovperc/assets/label_maps" / f"{name}.json"
    content = json.loads(path.read_text())
    table = load_label_map(name)
    for label, raw in enumerate(content["raw_ids"]):
        if raw is not None:
            assert table.apply(np.array([[raw]]))[0, 0] == label
    for raw in content["void"]:
        assert table.apply(np.array([[raw]]))[0, 0] == content["ignore_index"]
    assert table.ignore_index >= table.num_labels


@pytest.mark.parametrize("name", list_class_names())
def test_class_list_and_label_map_have_the_same_length(name):
    assert load_label_map(name).num_labels == len(load_class_names(name).labels)


@pytest.mark.parametrize("name", ["ade150", "context59", "voc20"])
def test_maps_without_background_equal_mmseg_reduce_zero_label(name, tmp_path):
    from ovperc.training.compat import prepare_mmseg

    prepare_mmseg()
    from mmseg.datasets.transforms import LoadAnnotations

    labels = load_label_map(name).num_labels
    raw = RNG.integers(0, labels + 1, (20, 30)).astype(np.uint8)
    raw[3:5] = 255
    Image.fromarray(raw).save(tmp_path / "a.png")
    loaded = LoadAnnotations(reduce_zero_label=True)(
        {"seg_map_path": str(tmp_path / "a.png"), "reduce_zero_label": True, "seg_fields": []}
    )["gt_seg_map"]
    assert np.array_equal(load_label_map(name).apply(read_annotation(tmp_path / "a.png")), loaded)


def test_a_number_the_data_set_does_not_define_is_an_error_that_names_it():
    raw = np.array([[0, 151], [200, 151]], dtype=np.uint8)
    with pytest.raises(LabelRangeError, match=r"val_1\.png: found 151, 200, which label map 'ade150'"):
        load_label_map("ade150").apply(raw, "val_1.png")


def test_labels_beyond_8_bits_survive():
    raw = np.array([[255, 846, 65535]], dtype=np.uint16)
    labels = load_label_map("ade847").apply(raw)
    assert labels.dtype == np.uint16 and labels.tolist() == [[255, 846, 65535]]


@pytest.mark.parametrize("raw", [np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2), np.float32)])
def test_colours_and_fractions_are_refused(raw):
    with pytest.raises(LabelRangeError, match="one channel of integers"):
        load_label_map("voc21").apply(raw, "x.png")


def test_wide_numbers_outside_16_bits_are_refused():
    with pytest.raises(LabelRangeError, match=r"-1\.\.70000"):
        load_label_map("voc21").apply(np.array([[-1, 70000]]))


def test_a_map_refuses_an_ignore_index_among_its_labels():
    with pytest.raises(ValueError, match="outside its 300 labels"):
        LabelMap.of("x", list(range(300)), [], ignore_index=255)


def test_unknown_map_offers_near_names():
    with pytest.raises(ValueError, match="'ade847'"):
        load_label_map("ade_847")


@pytest.mark.parametrize(("dtype", "suffix"), [(np.uint8, ".png"), (np.uint16, ".png"), (np.uint16, ".tif")])
def test_annotations_survive_writing_and_reading(dtype, suffix, tmp_path):
    labels = RNG.integers(0, np.iinfo(dtype).max + 1, (7, 9)).astype(dtype)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(encode_annotation(labels, suffix))
    found = read_annotation(path)
    assert found.dtype == dtype and np.array_equal(found, labels)


def test_a_cut_off_annotation_is_an_error_with_file_and_size(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(encode_annotation(RNG.integers(0, 9, (64, 64)).astype(np.uint8), ".png")[:400])
    with pytest.raises(AnnotationError, match=r"a\.png: expected an index image, found 400 bytes"):
        read_annotation(path)
    with pytest.raises(AnnotationError, match="missing"):
        read_annotation(tmp_path / "b.png")
