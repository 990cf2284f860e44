"""Panoptic segmentation on tiny towers, and the shipped method on scenes of the world."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import ovperc
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


def picture(size_hw: tuple[int, int] = (60, 90), seed: int = 0) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((-(-size_hw[0] // 4), -(-size_hw[1] // 4), 1), np.uint8))[: size_hw[0], : size_hw[1]]


@contextmanager
def counted_blocks(**towers: nn.Sequential | nn.ModuleList) -> Iterator[Counter[str]]:
    calls: Counter[str] = Counter()
    hooks = [
        block.mlp.register_forward_pre_hook(lambda *_, key=f"{name}.{index}": calls.update([key]))
        for name, blocks in towers.items()
        for index, block in enumerate(blocks)
    ]
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()


def test_segments_do_not_overlap_and_stuff_has_one_each() -> None:
    found = tiny_predictor().predict(picture(), "cat, dog, bird", stuff="grass, sky")
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
    found = tiny_predictor().predict(picture(), "cat", background=0.999999, stuff="sky")
    assert found.things == (1,) and len(found) == 0 and not found.ids.any()
    assert found.summary() == "nothing found"


def test_new_words_need_no_pass_through_a_tower() -> None:
    predictor = tiny_predictor()
    clip = predictor.segmenter.semantic.clip.backbone.tower.transformer.resblocks
    sam = predictor.segmenter.proposer.prompter.backbone.tower.blocks
    with counted_blocks(sam=sam, clip=clip) as calls:
        encoded = predictor.encode(picture())
        assert {calls[f"sam.{index}"] for index in range(len(sam))} == {1}
        assert max(calls[f"clip.{index}"] for index in range(len(clip))) == 1
        calls.clear()
        first = predictor.predict_encoded(encoded, "cat, dog", stuff="sky")
        predictor.predict_encoded(encoded, "tree", stuff="road, sky")
        assert not calls
    again = predictor.predict(picture(), "cat, dog", stuff="sky")
    assert np.array_equal(first.ids, again.ids) and first.segments == again.segments


def test_a_batch_equals_single_images_in_any_order() -> None:
    predictor = tiny_predictor()
    images = [picture((60, 90)), picture((60, 90), 1), picture((44, 50), 2)]
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
        tiny_predictor(Boxes()).encode(picture())


def test_an_image_without_masks_is_all_stuff() -> None:
    nothing = SamEverything(backbone=SamBackbone(tiny_sam()), points=2, min_quality=1e6)
    found = tiny_predictor(nothing).predict(picture(), "cat", stuff="grass, sky")
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
