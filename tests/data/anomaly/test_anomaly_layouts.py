"""Every anomaly set in its public layout, and the traps of each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.anomaly_layouts import (
    HW,
    MARK,
    Fixture,
    Writer,
    mark_mask,
    write_dagm,
    write_flat,
    write_isic,
    write_kinds,
    write_kolektor_raw,
    write_meta,
    write_mvtec,
    write_visa,
)
from ovperc.core.errors import ImageError
from ovperc.data.anomaly import AnomalyImages
from ovperc.data.anomaly.records import shot_images
from ovperc.data.anomaly.sets import ANOMALY_SETS
from ovperc.data.benchmarks import get_benchmark
from ovperc.data.layout import LayoutError


def _of(name: str) -> tuple[str, ...]:
    return get_benchmark(name).source.layout.categories


FIXTURES: dict[str, Fixture] = {
    "mvtec": Fixture(lambda root: write_mvtec(root, _of("mvtec"), grey=True), 2, 2, 2),
    "visa": Fixture(lambda root: write_visa(root, _of("visa")), 2, 2, 2),
    "btad": Fixture(lambda root: write_mvtec(root, _of("btad"), "ok", "ko", ".bmp", "{}.png"), 2, 2, 2),
    "mpdd": Fixture(lambda root: write_mvtec(root, _of("mpdd"), bad="hole"), 2, 2, 2),
    "dagm": Fixture(lambda root: write_dagm(root, _of("dagm")), 3, 3, 2),
    "dtd_synthetic": Fixture(lambda root: write_mvtec(root, _of("dtd_synthetic"), bad="bad"), 2, 2, 2),
    "sdd": Fixture(lambda root: write_mvtec(root, ("electrical_commutators",), bad="defect", mask="{}.png"), 2, 2, 2),
    "headct": Fixture(lambda root: write_kinds(root, "brain/test/", "good", "hemorrhage"), 0, 2, 3, False),
    "brainmri": Fixture(lambda root: write_kinds(root, "brain_tumor_dataset/", "no", "yes"), 0, 2, 3, False),
    "br35h": Fixture(lambda root: write_kinds(root, "", "no", "yes"), 0, 2, 3, False),
    "covid19": Fixture(lambda root: write_kinds(root, "", "NORMAL", "COVID"), 0, 2, 3, False),
    "isic": Fixture(write_isic, 0, 0, 3),
    "cvc_clinicdb": Fixture(lambda root: write_flat(root, "images", "masks"), 0, 0, 3),
    "cvc_colondb": Fixture(lambda root: write_flat(root, "images", "masks"), 0, 0, 3),
    "kvasir": Fixture(lambda root: write_flat(root, "images", "masks"), 0, 0, 3),
    "endo": Fixture(lambda root: write_flat(root, "segmented-images", "masks", "{}_mask.png"), 0, 0, 3),
    "tn3k": Fixture(lambda root: write_flat(root, "test-image", "test-mask"), 0, 0, 3),
    "anomaly_folder": Fixture(lambda root: write_mvtec(root, ("bolt", "nut")), 2, 2, 2),
    "anomaly_meta": Fixture(write_meta, 2, 2, 2),
}


def test_every_set_has_a_fixture_and_a_benchmark() -> None:
    assert set(FIXTURES) == {row.name for row in ANOMALY_SETS}
    for row in ANOMALY_SETS:
        assert get_benchmark(row.name) is row
        assert row.task == "anomaly" and row.needs_data


@pytest.mark.parametrize("name", sorted(FIXTURES))
def test_set_is_read_from_its_layout(name: str, tmp_path: Path) -> None:
    fixture = FIXTURES[name]
    fixture.write(tmp_path)
    images = get_benchmark(name).images(root=str(tmp_path))
    assert isinstance(images, AnomalyImages)
    assert images.complete
    assert images.categories == (_of(name) or images.categories)
    assert len({record.name for record in images.records}) == len(images)
    for category in images.categories:
        mine = [record for record in images.records if record.category == category]
        assert sum(not record.anomalous for record in mine) == fixture.good
        assert sum(record.anomalous for record in mine) == fixture.bad
        assert images.num_normal(category) == fixture.train
    for index in range(min(len(images), 12)):
        sample = images[index]
        assert sample.image.shape == (*HW, 3) and sample.image.dtype == np.uint8
        marked = bool((sample.image[MARK] > 200).all())
        assert marked == sample.record.anomalous
        if not fixture.masks:
            assert sample.mask is None
        else:
            np.testing.assert_array_equal(sample.mask, mark_mask() & sample.record.anomalous)


def test_training_images_are_normal(tmp_path: Path) -> None:
    write_dagm(tmp_path, _of("dagm"))
    images = get_benchmark("dagm").images(root=tmp_path)
    assert all((images.normal_image("Class1", index) < 200).all() for index in range(images.num_normal("Class1")))
    assert len(shot_images(images, "Class1", 2)) == 2
    assert images.words["Class1"] == "texture"


@pytest.mark.parametrize("inner", ["", "1cls"])
def test_visa_rearranged(inner: str, tmp_path: Path) -> None:
    write_mvtec(tmp_path / inner, _of("visa"), bad="bad", suffix=".JPG", mask="{}.png")
    images = get_benchmark("visa").images(root=tmp_path)
    assert len(images) == 12 * 4
    assert images.words["macaroni2"] == "macaroni" and images.words["pipe_fryum"] == "pipe fryum"


def test_visa_without_its_split_says_so(tmp_path: Path) -> None:
    write_visa(tmp_path, ("candle",))
    (tmp_path / "split_csv" / "1cls.csv").unlink()
    with pytest.raises(LayoutError, match=r"expected split_csv/1cls.csv"):
        get_benchmark("visa").images(root=tmp_path)


def test_kolektor_as_downloaded(tmp_path: Path) -> None:
    write_kolektor_raw(tmp_path)
    images = get_benchmark("sdd").images(root=tmp_path)
    anomalous = [record for record in images.records if record.anomalous]
    assert (len(anomalous), len(images) - len(anomalous), images.num_normal(images.categories[0])) == (3, 2, 7)
    index = images.records.index(anomalous[0])
    np.testing.assert_array_equal(images[index].mask, mark_mask())
    (tmp_path / "kos01" / "Part0_label.bmp").unlink()
    with pytest.raises(LayoutError, match=r"expected its label Part0_label.bmp"):
        get_benchmark("sdd").images(root=tmp_path)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1"])
def test_any_mode_of_masks(mode: str, tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    writer.image("good/0.png")
    writer.image("cut/a.jpg", defect=True)
    writer.mask("masks/cut/A_MASK.PNG", value=1, mode=mode)  # another case, and a low value
    images = get_benchmark("anomaly_folder").images(root=tmp_path)
    index = [record.kind for record in images.records].index("cut")
    np.testing.assert_array_equal(images[index].mask, mark_mask())


def test_jpeg_masks_grow_unless_the_level_is_raised(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    writer.image("images/1.jpg", defect=True)
    mask = Image.fromarray(mark_mask().astype(np.uint8) * 255)
    (tmp_path / "masks").mkdir()
    mask.save(tmp_path / "masks" / "1.jpg", quality=30)
    assert get_benchmark("kvasir").images(root=tmp_path)[0].mask.sum() > mark_mask().sum()
    np.testing.assert_array_equal(get_benchmark("kvasir").images(root=tmp_path, mask_above=127)[0].mask, mark_mask())


@pytest.mark.parametrize(("capital", "prefix"), [(True, ""), (False, "/gone/disk/data/mvtec/"), (False, "D:\\sets\\")])
def test_meta_json_of_other_machines(capital: bool, prefix: str, tmp_path: Path) -> None:
    write_meta(tmp_path, capital, prefix)
    images = get_benchmark("anomaly_meta").images(root=tmp_path)
    assert (len(images), images.num_normal("bottle")) == (4, 2)
    assert images[3].mask.any()


def test_meta_json_errors(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match=r"expected meta.json"):
        get_benchmark("anomaly_meta").images(root=tmp_path)
    (tmp_path / "meta.json").write_text('{"test": {"a": [{"img_path": "x.png"}]}}')
    with pytest.raises(LayoutError, match=r"anomaly.*KeyError"):
        get_benchmark("anomaly_meta").images(root=tmp_path)
    (tmp_path / "meta.json").write_text('{"train": {}}')
    with pytest.raises(LayoutError, match=r"no test images listed"):
        get_benchmark("anomaly_meta").images(root=tmp_path)


def test_own_parts_in_one_folder(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    for number in range(6):
        writer.image(f"good/{number}.png")
    for number in range(2):
        writer.image(f"scratch/{number}.png", defect=True)
        writer.image(f"dirt/{number}.png", defect=True)
        writer.mask(f"masks/scratch/{number}.png")
    images = get_benchmark("anomaly_folder").images(root=tmp_path, words={tmp_path.name: "hex nut"})
    assert images.words == {tmp_path.name: "hex nut"}
    assert images.num_normal(tmp_path.name) == 0
    assert sorted({record.kind for record in images.records}) == ["dirt", "good", "scratch"]
    with_mask = {record.kind: images[index].mask is not None for index, record in enumerate(images.records)}
    assert with_mask == {"good": True, "scratch": True, "dirt": False}
    held = get_benchmark("anomaly_folder").images(root=tmp_path, hold_out=4)
    assert (held.num_normal(tmp_path.name), len(held)) == (4, len(images) - 4)
    shown = {held.normal_image(tmp_path.name, index).tobytes() for index in range(4)}
    assert not shown & {held[index].image.tobytes() for index in range(len(held))}
    with pytest.raises(LayoutError, match=r"hold_out=6"):
        get_benchmark("anomaly_folder").images(root=tmp_path, hold_out=6)


def test_own_parts_by_category_with_training_images(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    for category in ("bolt", "nut"):
        writer.image(f"{category}/OK/0.png")
        writer.image(f"{category}/bent/0.png", defect=True)
        writer.image(f"{category}/train/0.png")
    images = get_benchmark("anomaly_folder").images(root=tmp_path)
    assert images.categories == ("bolt", "nut")
    assert images.num_normal("nut") == 1
    assert [record.kind for record in images.records] == ["bent", "good"] * 2


def test_mask_of_another_size(tmp_path: Path) -> None:
    write_mvtec(tmp_path, ("bottle",))
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "bottle/ground_truth/broken/000_mask.png")
    images = get_benchmark("mvtec").images(root=tmp_path, partial=True)
    index = [record.name for record in images.records].index("bottle/test/broken/000")
    with pytest.raises(ImageError, match=r"000_mask.png: the mask is 8 x 8, its image 000.png 20 x 16"):
        images[index]


def test_missing_masks_and_two_of_one_image(tmp_path: Path) -> None:
    write_mvtec(tmp_path, ("bottle",))
    mask = tmp_path / "bottle/ground_truth/broken/001_mask.png"
    mask.rename(mask.with_name("9.png"))
    with pytest.raises(LayoutError, match=r"1 anomalous images have no mask: test/broken/001.png"):
        get_benchmark("mvtec").images(root=tmp_path, partial=True)
    (mask.with_name("9.png")).rename(mask)
    mask.with_name("001_MASK.bmp").write_bytes(b"")
    with pytest.raises(LayoutError, match="two masks have the name"):
        get_benchmark("mvtec").images(root=tmp_path, partial=True)


def test_incomplete_copies(tmp_path: Path) -> None:
    write_mvtec(tmp_path, ("bottle", "cable"))
    with pytest.raises(LayoutError, match=r"categories capsule, .* are missing \(found: bottle, cable\)"):
        get_benchmark("mvtec").images(root=tmp_path)
    part = get_benchmark("mvtec").images(root=tmp_path, partial=True)
    assert part.categories == ("bottle", "cable") and not part.complete
    some = get_benchmark("mvtec").images(root=tmp_path, categories=("cable",))
    assert some.categories == ("cable",) and not some.complete
    with pytest.raises(ValueError, match=r"unknown category 'cabel'.*cable"):
        get_benchmark("mvtec").images(root=tmp_path, categories=("cabel",))


def test_nothing_there_says_what_was_expected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "stuff").mkdir()
    for row in ANOMALY_SETS:
        with pytest.raises(LayoutError, match="expected"):
            row.images(root=tmp_path)
    with pytest.raises(LayoutError, match="no such folder"):
        get_benchmark("mvtec").images(root=tmp_path / "nowhere")
    monkeypatch.delenv("OVPERC_DATA", raising=False)
    with pytest.raises(LayoutError, match="pass --data-root"):
        get_benchmark("mvtec").images(root=None)
    with pytest.raises(ValueError, match=r"unknown benchmark 'mvtek'.*mvtec"):
        get_benchmark("mvtek")


def test_set_is_found_in_a_folder_of_sets(tmp_path: Path) -> None:
    write_mvtec(tmp_path / "BTech_Dataset_transformed", _of("btad"), "ok", "ko")
    images = get_benchmark("btad").images(root=tmp_path)
    assert len(images) == 12
    assert images.records[0].name == "01/test/ko/000"
