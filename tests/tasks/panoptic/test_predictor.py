"""Panoptic segmentation on tiny towers, and the shipped method on scenes of the world."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

import ovperc
from helpers.pictures import blobs
from helpers.tiny_models import tiny_clip
from helpers.tiny_sam import tiny_sam
from ovperc.backbones.sam import SamBackbone
from ovperc.core.structures import Background
from ovperc.data.world.scene import make_scene
from ovperc.tasks.detection.proposals import SamEverything
from ovperc.tasks.detection.region_detector import Proposals
from ovperc.tasks.methods import load_method
from ovperc.tasks.panoptic.load import build_panoptic
from ovperc.tasks.panoptic.prediction import PanopticPrediction
from ovperc.tasks.panoptic.predictor import PanopticPredictor
from ovperc.tasks.predictor import PredictorInfo
from ovperc.text.encoder import TextEncoder

TINY = {"type": "Tiler", "short_side_px": 48}


def tiny_predictor(proposer: object = None, **merge: float) -> PanopticPredictor:
    method = load_method(
        "panoptic_surgery", {"tiler": TINY, "merge": {"min_score": 0.0, "min_stuff_area": 0.0, **merge}}
    )
    clip = tiny_clip("vit", pos_embed=method.pos_embed)
    sam = SamEverything(
        backbone=SamBackbone(tiny_sam()), points=3, min_quality=-10.0, min_stability=0.0, max_area=1.0, max_regions=8
    )
    segmenter = build_panoptic(method, clip, proposer or sam, tiler=TINY)
    return PanopticPredictor(
        segmenter, TextEncoder(clip.text, clip.fingerprint, "plain"), PredictorInfo.of("panoptic_surgery", clip)
    )


def test_segments_do_not_overlap_and_stuff_has_one_each() -> None:
    found = tiny_predictor().predict(blobs((60, 90)), "cat, dog, bird", stuff="grass, sky")
    assert found.size_hw == (60, 90) and found.names == ("cat", "dog", "bird", "grass", "sky")
    assert found.things == (0, 1, 2)
    assert sum(found.panoptic.areas().values()) + (found.ids == 0).sum() == found.ids.size
    assert {segment.id for segment in found.segments} == set(range(1, len(found) + 1))
    assert all(0 <= segment.score <= 1 or segment.label < 3 for segment in found.segments)


def test_stuff_among_the_words_keeps_their_order() -> None:
    predictor = tiny_predictor()
    query = predictor.query("Cat, sky, dog", stuff=["sky", "grass"])
    assert query.bank.names == ("Cat", "sky", "dog", "grass") and query.stuff == {1, 3}
    assert predictor.query("cat, dog").stuff == frozenset()
    assert predictor.query(query) is query
    with_background = predictor.query("cat", "0.2, wall", stuff="sky")
    assert with_background.bank.names == ("background", "cat", "sky") and with_background.stuff == {2}
    assert with_background.bank.background == Background(("wall",), 0.2)


def test_background_is_void() -> None:
    found = tiny_predictor().predict(blobs((60, 90)), "cat", background=0.999999, stuff="sky")
    assert found.things == (1,) and len(found) == 0 and not found.ids.any()
    assert found.summary() == "nothing found"


def test_new_words_on_an_encoded_image() -> None:
    predictor = tiny_predictor()
    encoded = predictor.encode(blobs((60, 90)))
    predictor.predict_encoded(encoded, "tree", stuff="road, sky")
    first = predictor.predict_encoded(encoded, "cat, dog", stuff="sky")
    again = predictor.predict(blobs((60, 90)), "cat, dog", stuff="sky")
    assert np.array_equal(first.ids, again.ids) and first.segments == again.segments


def test_a_batch_equals_single_images_in_any_order() -> None:
    predictor = tiny_predictor()
    images = [blobs((60, 90)), blobs((60, 90), 1), blobs((44, 50), 2)]
    alone = [predictor.predict(image, "cat, dog", stuff="sky") for image in images]
    for order in ([0, 1, 2], [2, 1, 0]):
        batch = predictor.predict_batch([images[index] for index in order], "cat, dog", stuff="sky")
        for index, found in zip(order, batch, strict=True):
            assert np.mean(found.ids != alone[index].ids) < 0.005


def test_a_proposer_without_masks_is_refused() -> None:
    class Boxes:
        def propose(self, image: np.ndarray) -> Proposals:
            return Proposals(torch.tensor([[0.0, 0, 9, 9]]), torch.ones(1))

    with pytest.raises(
        ValueError, match="Boxes finds boxes without masks; panoptic segmentation needs a proposer with"
    ):
        tiny_predictor(Boxes()).encode(blobs((60, 90)))


def test_an_image_without_masks_is_all_stuff() -> None:
    nothing = SamEverything(backbone=SamBackbone(tiny_sam()), points=2, min_quality=1e6)
    found = tiny_predictor(nothing).predict(blobs((60, 90)), "cat", stuff="grass, sky")
    assert {segment.label for segment in found.segments} <= {1, 2}


def test_an_unknown_merge_setting() -> None:
    with pytest.raises(ValueError, match="merge has no 'min_scores'; did you mean 'min_score'"):
        load_method("panoptic_surgery", ["merge.min_scores=0.1"])


@cache
def shipped() -> PanopticPredictor:
    return ovperc.load("panoptic_surgery", "clip-mini")


def test_the_shipped_method_finds_instances_and_materials() -> None:
    scene = make_scene((777, 0, 3))
    found = shipped().predict(
        scene.image, "striped red object, dotted blue object, plain green object", stuff="wood, brick, grass"
    )
    assert found.counts() == {"striped red object": 0, "dotted blue object": 1, "plain green object": 2}
    assert found.segment_names[:3] == ("plain green object 1", "plain green object 2", "dotted blue object")
    assert found.areas()["wood"] > 0.3
    assert found.summary().startswith("1 dotted blue object, 2 plain green object, wood ")


def test_predictions_load_as_they_were_saved(tmp_path: Path) -> None:
    found = shipped().predict(make_scene((777, 0, 3)).image, "plain green object", stuff="wood", source="scene.png")
    files = found.save(tmp_path / "scene")
    assert [file.name for file in files] == ["scene.png", "scene.json"]
    loaded = PanopticPrediction.load(tmp_path / "scene.png")
    assert np.array_equal(loaded.ids, found.ids) and loaded.segments == found.segments
    assert (loaded.names, loaded.things, loaded.source) == (found.names, found.things, "scene.png")
    assert loaded.method == found.method and loaded.metadata["weights"] == "clip-mini"
    assert loaded.draw(make_scene((777, 0, 3)).image).size[0] >= 448
    (tmp_path / "scene.png").unlink()
    with pytest.raises(ValueError, match="cannot read the panoptic map"):
        PanopticPrediction.load(tmp_path / "scene")
