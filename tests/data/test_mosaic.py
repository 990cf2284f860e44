"""Mosaics: each tile lies where its box says, plans fill batches, groups of tiles are rectangles."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ovperc.data.captions import CaptionPictures
from ovperc.data.layout import LayoutError
from ovperc.data.mosaic import PADDING_GREY, cell_boxes, compose_mosaic, join_tiles, plan_mosaics, tile_images
from ovperc.data.region_text import region_text_batch
from ovperc.data.sampling import Draw, SeededDataset
from ovperc.data.world.captions import object_code
from ovperc.data.world.holdout import HOLD_OUT
from ovperc.data.world.scene_texts import WorldSceneTexts
from ovperc.data.world.tiles import PALETTE, WorldTiles, even_looks, look_of, recolour
from ovperc.data.world.vocabulary import COLOURS, PATTERNS


def test_plans():
    plan = plan_mosaics(32)
    assert plan.mosaics == ((2, 1), (3, 1), (4, 1))
    assert (plan.tiled, plan.singles) == (29, 3)
    assert plan_mosaics(64).mosaics == ((2, 2), (3, 2), (4, 2))
    with pytest.raises(ValueError, match="29 images are needed"):
        plan_mosaics(28)
    with pytest.raises(ValueError, match="at least 1 x 1"):
        plan_mosaics(28, ())


@pytest.mark.parametrize("side", [1, 2, 3, 4])
def test_a_tile_lies_where_its_box_says(side: int):
    count = side * side
    colours = torch.arange(2.0 * count).view(-1, 1, 1, 1).expand(-1, 3, 12, 12)
    mosaics = tile_images(colours, side, 12 * side)
    assert mosaics.shape == (2, 3, 12 * side, 12 * side)
    for mosaic in range(2):
        for tile, box in enumerate(cell_boxes(side, 12 * side).round().long().tolist()):
            x0, y0, x1, y1 = box
            assert (mosaics[mosaic, :, y0:y1, x0:x1] == mosaic * count + tile).all()
    with pytest.raises(ValueError, match="do not fill mosaics"):
        tile_images(colours[: 2 * count - 1], side + 1, 12)


def test_resized_mosaics_are_bicubic_without_antialiasing():
    images = torch.rand(4, 3, 16, 16)
    plain = torch.cat([torch.cat([images[0], images[1]], 2), torch.cat([images[2], images[3]], 2)], 1)
    expected = torch.nn.functional.interpolate(plain[None], (20, 20), mode="bicubic", align_corners=False)
    assert torch.equal(tile_images(images, 2, 20), expected)


def solid(value: int, height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def test_pictures_keep_their_aspect_and_lean_to_the_centre():
    pictures = [solid(10 * (index + 1), 40, 20) for index in range(4)]
    mosaic = compose_mosaic(pictures, (2, 2), 40, 80, np.random.default_rng(0))
    assert mosaic.image.shape == (80, 80, 3)
    assert mosaic.boxes.tolist() == [[20, 0, 40, 40], [40, 0, 60, 40], [20, 40, 40, 80], [40, 40, 60, 80]]
    for value, (x0, y0, x1, y1) in zip((10, 20, 30, 40), mosaic.boxes.astype(int), strict=True):
        assert (mosaic.image[y0:y1, x0:x1] == value).all()
    assert (mosaic.image[:, :20] == PADDING_GREY).all()


def test_mosaics_are_brought_to_their_long_side():
    mosaic = compose_mosaic([solid(1, 30, 30)] * 6, (2, 3), 30, 45, np.random.default_rng(0))
    assert mosaic.image.shape == (30, 45, 3)
    assert mosaic.boxes[-1].tolist() == [30, 15, 45, 30]
    with pytest.raises(ValueError, match="needs 4 images; got 3"):
        compose_mosaic([solid(1, 8, 8)] * 3, (2, 2), 8, 16, np.random.default_rng(0))


def test_groups_of_tiles_are_different_rectangles():
    mosaic = compose_mosaic([solid(1, 10, 10)] * 9, (3, 3), 10, 30, np.random.default_rng(0))
    groups = join_tiles(mosaic, 100, np.random.default_rng(1))
    assert len(groups) == 36 - 9, "all rectangles but the single cells"
    assert len({group.tiles for group in groups}) == len(groups)
    for group in groups:
        x0, y0, x1, y1 = group.box / 10
        assert len(group.tiles) == (x1 - x0) * (y1 - y0)
    assert len(join_tiles(mosaic, 4, np.random.default_rng(2))) == 4


def test_looks_read_back_from_codes():
    assert all(look_of(object_code(look)) == look for look in HOLD_OUT.base)


def test_even_looks_tell_no_pattern_by_colour():
    looks = even_looks(HOLD_OUT.base)
    for colour in range(len(COLOURS)):
        assert len({look.pattern for look in looks if look.colour == colour}) in (1, len(PATTERNS))


def test_recoloured_pictures_show_no_held_out_pair():
    rng = np.random.default_rng(0)
    changed = 0
    for look in HOLD_OUT.base[::7]:
        picture = np.broadcast_to(PALETTE[look.colour], (4, 4, 3)).astype(np.uint8)
        found = recolour(picture, [look], rng)
        if found is None:
            continue
        changed += 1
        nearest = int(np.square(PALETTE - found[0, 0]).sum(axis=1).argmin())
        assert (look.pattern, nearest) not in HOLD_OUT.pattern_colour
        assert (nearest, look.shape) not in HOLD_OUT.colour_shape
    assert changed > 20


def test_tiles_of_the_world():
    settings = {"stages": [{"crops": 13, "scenes": 0}], "style": {"bank_tiles": 1}}
    world = WorldTiles(3, seed=1, recoloured=0.5, **settings)
    batch, again = world[1]["batch"], WorldTiles(3, seed=1, recoloured=0.5, **settings)[1]["batch"]
    assert torch.equal(batch.images, again.images)
    assert batch.images.shape == (13, 3, 48, 48)
    assert batch.texts == again.texts
    truth = batch.truth.table()
    assert truth.diagonal().all(), "a caption is true of its own picture"
    joined = batch.truth.join([world[2]["batch"].truth]).table()
    assert joined.shape == (26, 26)
    assert torch.equal(joined[:13, :13], truth)
    with pytest.raises(ValueError, match="scenes=0"):
        WorldTiles(3, stages=[{"scenes": 2}])


def test_scenes_with_texts_boxes_and_phrases():
    world = WorldSceneTexts(4, seed=2, scenes=3, style={"bank_tiles": 1})
    batch = world[2]["batch"]
    assert torch.equal(batch.images, world[2]["batch"].images)
    assert len(batch.texts) == len(batch.boxes) == len(batch.phrases) == len(batch.seeds) == 3
    assert [len(boxes) for boxes in batch.boxes] == [len(phrases) for phrases in batch.phrases]
    assert batch.truth.table().diagonal().all()


def test_captioned_pictures(tmp_path: Path):
    for number in (1, 2):
        Image.fromarray(np.full((40, 60, 3), 50 * number, np.uint8)).save(tmp_path / f"{number}.png")
    rows = [{"id": 7, "file_name": "1.png", "captions": ["one", "uno"]}, {"id": 8, "file_name": "2.png"}]
    (tmp_path / "bare.json").write_text(json.dumps({"images": rows}))
    with pytest.raises(LayoutError, match=r"2\.png has no caption"):
        CaptionPictures(tmp_path, tmp_path / "bare.json")
    more = {"images": rows, "annotations": [{"image_id": 8, "caption": "two"}]}
    (tmp_path / "captions.json").write_text(json.dumps(more))
    pictures = SeededDataset(CaptionPictures(tmp_path, tmp_path / "captions.json", 16), seed=0)
    items = [pictures[Draw(index, index)] for index in (0, 1)]
    batch = region_text_batch(items)["batch"]
    assert batch.images.shape == (2, 3, 16, 16)
    assert batch.images[1].unique().tolist() == [100]
    assert batch.texts[0] in ("one", "uno")
    assert batch.texts[1] == "two"
    again = region_text_batch([pictures[Draw(index, index)] for index in (0, 1)])["batch"]
    assert torch.equal(batch.seeds, again.seeds)
