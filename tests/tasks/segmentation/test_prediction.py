"""Predictions: checks, measures, and files."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from ovperc.tasks.segmentation import prediction as predictions
from ovperc.tasks.segmentation.prediction import SegPrediction

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 3, (12, 17)).astype(np.int32)
CONFIDENCE = RNG.random((12, 17), dtype=np.float32)
NAMES = ("background", "red star", "небо", "absent")


def make(**changes):
    fields = {"labels": LABELS, "confidence": CONFIDENCE, "names": NAMES, "source": "dir/a.b.jpg", "method": "naclip"}
    return SegPrediction(**(fields | changes))


def test_types_are_settled_on_construction():
    prediction = make(confidence=CONFIDENCE.astype(np.float16), names=list(NAMES))
    assert prediction.labels.dtype == np.uint16 and prediction.confidence.dtype == np.float32
    assert prediction.names == NAMES and prediction.size_hw == (12, 17)
    assert make(confidence=np.full((12, 17), 1 + 1e-6)).confidence.max() == 1


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"labels": LABELS[None]}, ValueError, r"labels must be integers of shape \(H, W\)"),
        ({"labels": LABELS.astype(float)}, ValueError, "integers"),
        ({"labels": np.zeros((0, 4), int)}, ValueError, "not empty"),
        ({"labels": LABELS + 2}, ValueError, r"0\.\.3, the range of names; got 2\.\.4"),
        ({"labels": LABELS - 1}, ValueError, "got -1"),
        ({"confidence": CONFIDENCE[:5]}, ValueError, r"shape of labels \(12, 17\); got \(5, 17\)"),
        ({"confidence": LABELS}, ValueError, "floats"),
        ({"confidence": CONFIDENCE * 2}, ValueError, r"\[0, 1\]"),
        ({"confidence": CONFIDENCE * np.nan}, ValueError, r"\[0, 1\]"),
        ({"names": ("a", "b", "a")}, ValueError, "'a' occurs more than once"),
        ({"names": ()}, ValueError, "1 to 65536 names"),
        ({"names": "abc"}, TypeError, "tuple of strings"),
        ({"names": ("a", 3, "c")}, TypeError, "tuple of strings"),
    ],
)
def test_bad_fields(changes, error, match):
    with pytest.raises(error, match=match):
        make(**changes)


def test_areas_and_masks():
    prediction = make()
    areas = prediction.areas()
    assert list(areas) == list(NAMES) and areas["absent"] == 0
    assert sum(areas.values()) == pytest.approx(1)
    for label, name in enumerate(NAMES):
        assert np.array_equal(prediction.mask(name), label == LABELS)
        assert areas[name] == pytest.approx((label == LABELS).mean())
    with pytest.raises(ValueError, match=r"no class 'red stair'.*did you mean 'red star'"):
        prediction.mask("red stair")
    assert "red star" in repr(prediction) and "12x17" in repr(prediction)


def test_coco_leaves_the_background_out_and_names_the_image():
    document = make().to_coco()
    assert [annotation["category_id"] for annotation in document["annotations"]] == [1, 2]
    assert document["images"][0]["file_name"] == "dir/a.b.jpg"
    without = make(names=("sea", *NAMES[1:])).to_coco()
    assert [annotation["category_id"] for annotation in without["annotations"]] == [0, 1, 2]


def test_saved_predictions_come_back(tmp_path):
    prediction = make(metadata={"weights": "clip-mini", "scale": [1, 2]})
    files = prediction.save(tmp_path / "new" / "a.png", coco=True, confidence=True)
    assert [file.name for file in files] == ["a.png", "a_confidence.png", "a_coco.json", "a.json"]
    assert sorted(files) == sorted((tmp_path / "new").iterdir())
    for path in (files[0], files[-1], tmp_path / "new" / "a"):
        loaded = SegPrediction.load(path)
        assert np.array_equal(loaded.labels, prediction.labels)
        assert np.abs(loaded.confidence - prediction.confidence).max() < 1e-5
        for name in ("names", "source", "method", "metadata"):
            assert getattr(loaded, name) == getattr(prediction, name)
    assert json.loads(files[2].read_text()) == prediction.to_coco()


def test_legend_holds_id_name_area_colour_and_mean_confidence(tmp_path):
    _, legend = make().save(tmp_path / "a")
    classes = json.loads(legend.read_text(encoding="utf-8"))["classes"]
    assert [entry["id"] for entry in classes] == [0, 1, 2, 3]
    assert [entry["name"] for entry in classes] == list(NAMES)
    assert [entry["area_px"] for entry in classes] == [int((label == LABELS).sum()) for label in range(4)]
    assert classes[1]["mean_confidence"] == pytest.approx(CONFIDENCE[LABELS == 1].mean())
    assert classes[3]["mean_confidence"] is None
    assert classes[0]["colour"] == "#808080"
    assert len({entry["colour"] for entry in classes}) == 4


def test_without_a_confidence_file_classes_have_their_mean(tmp_path):
    make().save(tmp_path / "a")
    loaded = SegPrediction.load(tmp_path / "a")
    assert np.allclose(loaded.confidence[LABELS == 2], CONFIDENCE[LABELS == 2].mean())


def test_a_folder_gets_the_name_of_the_source(tmp_path):
    assert [file.name for file in make().save(tmp_path)] == ["a.b.png", "a.b.json"]
    assert make(source=None).save(f"{tmp_path}/later/")[0] == tmp_path / "later" / "prediction.png"
    assert np.array_equal(SegPrediction.load(tmp_path / "a.b").labels, LABELS)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_interrupted_save_leaves_nothing_and_keeps_the_old(tmp_path, monkeypatch, error):
    old = make(method="old").save(tmp_path / "a", confidence=True)
    before = {file: file.read_bytes() for file in old}

    def fail(*_):
        raise error

    monkeypatch.setattr(predictions, "write_confidence", fail)
    with pytest.raises(type(error)):
        make(labels=2 - LABELS).save(tmp_path / "a", confidence=True)
    with pytest.raises(type(error)):
        make().save(tmp_path / "b", confidence=True)
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_metadata_that_does_not_fit_json_is_refused_before_writing(tmp_path):
    with pytest.raises(TypeError, match="JSON"):
        make(metadata={"array": LABELS}).save(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_bad_files_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"cannot read .*none\.json"):
        SegPrediction.load(tmp_path / "none")
    labels, legend = make().save(tmp_path / "a")
    text = legend.read_text(encoding="utf-8")
    for damaged, match in (
        ("{", "cannot read"),
        ("[]", "not a saved SegPrediction"),
        ('{"format": "other"}', "version"),
    ):
        legend.write_text(damaged)
        with pytest.raises(ValueError, match=match):
            SegPrediction.load(legend)
    legend.write_text(text.replace('"classes"', '"lost"'), encoding="utf-8")
    with pytest.raises(ValueError, match="lacks an entry"):
        SegPrediction.load(legend)
    legend.write_text(text, encoding="utf-8")
    Image.fromarray(LABELS.astype(np.uint16) + 900).save(labels)
    with pytest.raises(ValueError, match="does not fit its files"):
        SegPrediction.load(legend)


def test_draw_gives_a_picture_and_checks_the_size():
    image = RNG.integers(0, 256, (12, 17, 3), dtype=np.uint8)
    picture = make().draw(image)
    assert isinstance(picture, Image.Image) and picture.mode == "RGB"
    assert make().draw(Image.fromarray(image), legend=False).size == (17 * 26, 12 * 26)
    with pytest.raises(ValueError, match="must have the same size"):
        make().draw(image[:5])


def test_torch_is_not_needed():
    code = "import sys, ovperc.tasks.segmentation.prediction; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
