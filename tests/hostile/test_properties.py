"""Properties that hold for all input: geometry, run lengths, vocabularies and what writers write."""

import itertools
import json
import string

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ovperc.io.annotations import annotate_labels
from ovperc.io.coco import decode_rle, encode_rle, to_rle
from ovperc.io.masks import read_labels, write_labels
from ovperc.io.writers.coco import coco_document
from ovperc.io.writers.yolo import yolo_lines
from ovperc.text.vocabulary import Vocabulary
from ovperc.tiling.tiler import Tiler, tile_starts

few = settings(max_examples=40, deadline=None, derandomize=True, database=None)
sides = st.integers(1, 3000)
masks = arrays.arrays(bool, st.tuples(st.integers(1, 24), st.integers(1, 24)))
label_maps = arrays.arrays(np.int64, st.tuples(st.integers(1, 24), st.integers(1, 24)), elements=st.integers(0, 3))
words = st.text(string.ascii_letters + "äß部 -'", min_size=1, max_size=12).filter(str.strip)


@few
@given(sides, st.integers(1, 600), st.data())
def test_tiles_cover_an_axis_and_stay_on_it(length, crop, data):
    stride = data.draw(st.integers(1, crop))
    starts = tile_starts(length, crop, stride)
    size = min(crop, length)
    assert starts[0] == 0 and starts[-1] + size == length
    assert all(0 < after - before <= stride for before, after in itertools.pairwise(starts))


@few
@given(
    st.tuples(sides, sides),
    st.sampled_from([14, 16, 32]),
    st.one_of(st.none(), st.integers(1, 900)),
    st.sampled_from([0, 32, 224, 500]),
    st.sampled_from(["none", "symmetric", "end"]),
    st.booleans(),
    st.booleans(),
)
def test_any_image_has_a_plan(image_hw, patch_px, short_side_px, crop_px, pad, whole, follow):
    tiler = Tiler(short_side_px, 1024, crop_px, 0, pad, whole_patches=whole, follow_long_side=follow)
    plan = tiler.plan(image_hw, patch_px)
    assert plan.original_hw == image_hw
    assert min(plan.resized_hw) >= patch_px
    assert max(plan.resized_hw) < 1024 + patch_px or min(plan.resized_hw) <= patch_px
    for starts, size, length in zip((plan.starts_y, plan.starts_x), plan.crop_hw, plan.resized_hw, strict=True):
        assert starts[0] == 0 and starts[-1] + size == length
    if pad != "none":
        assert all(side % patch_px == 0 for side in plan.tile_hw)
    if whole:
        assert all(side % patch_px == 0 for side in plan.resized_hw)


@few
@given(masks)
def test_run_lengths_keep_masks(mask):
    code = encode_rle(mask)
    assert np.array_equal(decode_rle(json.loads(json.dumps(code))), mask)
    assert to_rle(code, mask.shape) == code
    runs = np.diff(np.flatnonzero(np.diff(mask.T.ravel(), prepend=not mask[0, 0])), append=mask.size).tolist()
    counts = [0, *runs] if mask[0, 0] else runs
    assert np.array_equal(decode_rle(to_rle({"size": list(mask.shape), "counts": counts}, mask.shape)), mask)


@few
@given(st.lists(words, min_size=1, max_size=6, unique_by=lambda word: " ".join(word.casefold().split())))
def test_names_survive_every_form(tmp_path_factory, names):
    folder = tmp_path_factory.mktemp("words")
    expected = Vocabulary.parse(names)
    assert expected.names == tuple(" ".join(name.split()) for name in names)
    (folder / "a.json").write_text(json.dumps(names))
    (folder / "a.yaml").write_text(json.dumps(names, ensure_ascii=False), encoding="utf-8")
    (folder / "a.txt").write_text("\n".join(names), encoding="utf-8")
    for form in (
        *(folder / f"a.{suffix}" for suffix in ("json", "yaml", "txt")),
        ",".join(names),
        dict.fromkeys(names),
    ):
        assert Vocabulary.parse(form) == expected


@few
@given(st.text(max_size=40))
def test_any_text_is_a_vocabulary_or_a_clear_error(text):
    try:
        found = Vocabulary.parse(text)
    except (ValueError, TypeError) as error:
        assert str(error)
        return
    assert len(found.prompts) == len(found.owners) >= len(found) >= 1
    assert all(prompt == " ".join(prompt.split()) != "" for prompt in found.prompts)


@few
@given(label_maps)
def test_a_label_map_survives_coco_and_a_png(tmp_path_factory, labels):
    names = ("a", "b", "c", "d")
    annotations = annotate_labels(labels, np.ones(labels.shape), names, "x.png")
    document = json.loads(json.dumps(coco_document(annotations)))
    drawn = np.full(labels.shape, -1)
    for row in document["annotations"]:
        mask = decode_rle(row["segmentation"])
        assert mask.sum() == row["area"]
        assert (drawn[mask] == -1).all(), "no pixel belongs to two"
        drawn[mask] = row["category_id"]
    assert np.array_equal(drawn, labels)
    path = tmp_path_factory.mktemp("labels") / "a.png"
    write_labels(path, labels.astype(np.uint16))
    assert np.array_equal(read_labels(path), labels)


@few
@given(label_maps)
def test_yolo_boxes_are_those_of_the_masks(labels):
    assume(labels.any())
    annotations = annotate_labels(labels, np.ones(labels.shape), ("a", "b", "c", "d"), "x.png", skip=(0,))
    height, width = labels.shape
    for line, entry in zip(yolo_lines(annotations, outlines=False), annotations.objects, strict=True):
        label, *box = line.split()
        x, y, w, h = np.array(box, float) * [width, height, width, height]
        assert int(label) == entry.label
        np.testing.assert_allclose((x - w / 2, y - h / 2, x + w / 2, y + h / 2), entry.box_xyxy, atol=1e-4)
    for line in yolo_lines(annotations, outlines=True):
        assert all(0 <= float(value) <= 1 for value in line.split()[1:])
