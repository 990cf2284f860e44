"""Sets of panoptic segmentation: COCO's files, the sample of COCO, and the world."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.detection_fixtures import SIZE_HW, make_panoptic
from helpers.real_data import real_data
from ovperc.data.benchmarks import get_benchmark
from ovperc.data.layout import LayoutError
from ovperc.data.panoptic.files import PanopticFiles
from ovperc.data.world.panoptic import WorldPanoptic


def files(root: Path, **options) -> PanopticFiles:
    maps = root / "annotations" / "panoptic_val2017"
    return PanopticFiles(maps.with_suffix(".json"), maps, root / "val2017", **options)


def test_segments_of_coco(tmp_path: Path) -> None:
    make_panoptic(tmp_path)
    images = files(tmp_path)
    assert (images.classes, images.category_ids) == (("person", "sky-other-merged"), (1, 187))
    assert images.groups == {"thing": (0,), "stuff": (1,)}
    sample = images[0]
    assert sample.image.shape == (*SIZE_HW, 3) and (sample.image_id, sample.name) == (139, "000000000139")
    assert [(part.id, part.label, part.crowd) for part in sample.panoptic.segments] == [
        (7000, 1, False), (66051, 0, False), (5, 0, True),
    ]  # fmt: skip
    assert sample.panoptic.areas() == {5: 400, 7000: 1280, 66051: 400}
    assert files(tmp_path, words=("human", "sky")).classes == ("human", "sky")
    with pytest.raises(LayoutError, match="has 2 categories; expected 3"):
        files(tmp_path, words=("a", "b", "c"))


def test_files_that_do_not_fit(tmp_path: Path) -> None:
    document = make_panoptic(tmp_path)
    content = json.loads(document.read_text())
    content["annotations"][0]["segments_info"].pop()
    document.write_text(json.dumps(content))
    with pytest.raises(LayoutError, match=r"000000000139\.png: .*pixels without a segment: \[5\]"):
        files(tmp_path)[0]
    Image.new("RGB", (8, 8)).save(tmp_path / "val2017" / "000000000139.jpg")
    make = np.zeros((*SIZE_HW, 3), np.uint8)
    Image.fromarray(make).save(tmp_path / "annotations" / "panoptic_val2017" / "000000000139.png")
    content["annotations"][0]["segments_info"] = []
    document.write_text(json.dumps(content))
    with pytest.raises(LayoutError, match=r"the image has \(8, 8\) px"):
        files(tmp_path)[0]
    (tmp_path / "val2017" / "000000000139.jpg").unlink()
    with pytest.raises(LayoutError, match=r"1 of 1 pictures of panoptic_val2017\.json are missing"):
        files(tmp_path, partial=True)


@pytest.mark.parametrize("split", ["val2017", "train2017"])
def test_the_sample_of_coco_agrees_with_its_semantic_maps(split: str) -> None:
    root = real_data("coco_sample")
    images = get_benchmark("coco-sample-panoptic").images(root=root, split=split)
    labelled = get_benchmark("coco-sample").images(root=root, split=split)
    assert len(images) == 100 and images.complete and images.classes == labelled.classes
    assert images.groups == {"thing": tuple(range(80)), "stuff": tuple(range(80, 133))}
    maps = {labelled[index].name: labelled[index].labels for index in range(6)}
    for index in range(len(images)):
        name = images.rows[index]["file_name"].removesuffix(".png")
        if name in maps:
            assert np.array_equal(images[index].panoptic.label_map(void=255), maps[name])


def test_segments_of_the_world() -> None:
    images = get_benchmark("world-panoptic").images(num_scenes=6)
    labelled = get_benchmark("world-novel").images(num_scenes=6)
    assert len(images) == 6 and images.classes == labelled.classes
    things, stuff = images.groups["thing"], images.groups["stuff"]
    assert sorted((*things, *stuff)) == list(range(len(images.classes))) and len(stuff) == 12
    assert sorted((*images.groups["base"], *images.groups["novel"])) == list(things)
    objects = 0
    for index in range(6):
        sample = images[index]
        assert np.array_equal(sample.image, labelled[index].image)
        assert np.array_equal(sample.panoptic.label_map(void=255), labelled[index].labels)
        objects += sum(part.label in things for part in sample.panoptic.segments)
        assert len({part.label for part in sample.panoptic.segments if part.label in stuff}) == sum(
            part.label in stuff for part in sample.panoptic.segments
        )
    assert objects > 6


def test_the_world_without_held_out_pairs() -> None:
    assert set(WorldPanoptic("world-base", num_scenes=1).groups) == {"thing", "stuff", "base"}
