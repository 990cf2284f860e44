"""Output names: no input, no file of the user and no other output is replaced."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ovperc.io.image_sources import expand_sources
from ovperc.io.masks import write_labels
from ovperc.io.output_plan import OutputNameError, check_output_names, own_outputs
from ovperc.io.ownership import check_not_source, check_replaceable, is_own, png_mark
from ovperc.io.writers.base import OutputSettings
from ovperc.io.writers.table import choose_writers

SETTINGS = OutputSettings((".png", ".json"), "overlay")


def check(out: Path, *images: Path, formats: str | None = None, overwrite: bool = False) -> None:
    writers = choose_writers(formats, "segmentation", SETTINGS)
    check_output_names(out, list(expand_sources(iter(images))), writers, overwrite)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.new("RGB", (8, 6), "red").save(tmp_path / "part.png")
    return tmp_path / "part.png"


@pytest.mark.parametrize("overwrite", [False, True])
def test_an_input_is_never_replaced(photo: Path, tmp_path: Path, overwrite: bool) -> None:
    with pytest.raises(OutputNameError, match=r"part\.png is an input"):
        check(tmp_path, photo, overwrite=overwrite)
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(OutputNameError, match="is an input"):
        check(tmp_path / "link", photo, overwrite=overwrite)
    os.link(photo, tmp_path / "b.png")
    Image.new("RGB", (8, 6)).save(tmp_path / "b.jpg")
    with pytest.raises(OutputNameError, match=r"b\.png is an input"):
        check(tmp_path, tmp_path / "b.jpg", photo, overwrite=overwrite)


def test_a_file_of_the_user_is_kept_unless_asked(photo: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    check(out, photo)
    (out / "part.json").write_text('{"notes": "mine"}')
    with pytest.raises(OutputNameError, match=r"part\.json exists and was not written by ovperc"):
        check(out, photo)
    check(out, photo, overwrite=True)
    (out / "part.json").unlink()
    (out / "part_overlay.png").symlink_to(tmp_path / "nowhere")
    with pytest.raises(OutputNameError, match="part_overlay"):
        check(out, photo)


def test_two_outputs_of_one_name(tmp_path: Path) -> None:
    for name in ("x.jpg", "x_overlay.jpg"):
        Image.new("RGB", (8, 6)).save(tmp_path / name)
    with pytest.raises(OutputNameError, match=r"x_overlay\.png is needed for .*x_overlay\.jpg and for .*x\.jpg"):
        check(tmp_path / "out", tmp_path / "x.jpg", tmp_path / "x_overlay.jpg")
    check(tmp_path / "out", tmp_path / "x.jpg", tmp_path / "x_overlay.jpg", formats="native")
    with pytest.raises(OutputNameError, match="the formats yolo and yolo-seg"):
        check(tmp_path / "out", tmp_path / "x.jpg", formats="yolo,yolo-seg")


def test_own_files_are_recognised(tmp_path: Path) -> None:
    write_labels(tmp_path / "a.png", np.zeros((4, 4), np.uint16))
    Image.new("RGB", (4, 4)).save(tmp_path / "a_overlay.png", pnginfo=png_mark())
    (tmp_path / "a.json").write_text(json.dumps({"format": "ovperc-segmentation-1", "image": "b.png", "map": "a.npy"}))
    np.save(tmp_path / "a.npy", np.zeros(3))
    Image.new("RGB", (4, 4)).save(tmp_path / "b.png")
    assert [is_own(tmp_path / name) for name in ("a.png", "a_overlay.png", "a.json", "a.npy")] == [True] * 4
    assert not is_own(tmp_path / "b.png") and not is_own(tmp_path / "absent.png")
    (tmp_path / "b.json").write_text(json.dumps({"info": {"format": "ovperc-detection-1"}, "image": "b.png"}))
    assert is_own(tmp_path / "b.json") and not is_own(tmp_path / "b.png")
    found = own_outputs(tmp_path, sorted(tmp_path.glob("*.png")))
    assert sorted(file.name for file in found) == ["a.png", "a_overlay.png"]
    assert not own_outputs(tmp_path / "elsewhere", sorted(tmp_path.glob("*.png")))


def test_label_maps_of_earlier_versions_are_known_by_their_legend(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(tmp_path / "old.png")
    assert not is_own(tmp_path / "old.png")
    (tmp_path / "old.json").write_text(json.dumps({"format": "ovperc-segmentation-1", "labels": "old.png"}))
    assert is_own(tmp_path / "old.png")


def test_a_document_that_was_corrected_by_hand_is_the_users(tmp_path: Path) -> None:
    """LabelMe writes keys that it does not know behind its own, the image's bytes included."""
    corrected = {"version": "5.5.0", "shapes": [], "imageData": "x" * 10_000, "ovperc": {"format": "ovperc-labelme-1"}}
    (tmp_path / "a_labelme.json").write_text(json.dumps(corrected))
    assert not is_own(tmp_path / "a_labelme.json")


def test_saving_over_the_source_is_refused(photo: Path) -> None:
    with pytest.raises(FileExistsError, match="image of this prediction"):
        check_not_source([photo], str(photo))
    with pytest.raises(FileExistsError, match="not written by ovperc"):
        check_replaceable([photo])
    check_not_source([photo.with_name("new.png")], str(photo))
    check_replaceable([photo.with_name("new.png")])
