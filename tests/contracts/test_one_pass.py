"""One pass of each tower per batch of tiles, for every method of every task; exceptions are listed with their reason.

The embedding of the patches and the feed-forward part of each block are counted: a second pass, in full or in part,
runs one of them again. The last block may be left out, where a readout takes its place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from contracts.test_method_contracts import FAMILIES, segmenter_of
from torch import nn

import ovperc
from helpers.pictures import blobs
from helpers.tiny_models import EMBED_DIM, WIDTH, tiny_clip
from ovperc.backbones.base import DenseBackbone
from ovperc.backbones.clip_convnext import ClipConvNet
from ovperc.backbones.clip_resnet import ClipResNet
from ovperc.backbones.clip_timm import TimmTransformer
from ovperc.backbones.clip_vit import ClipViT
from ovperc.backbones.sam import SamBackbone
from ovperc.tasks.anomaly.april_gan import LinearAdapters
from ovperc.tasks.anomaly.load import build_predictor
from ovperc.tasks.anomaly.text_map import TextMapHead
from ovperc.tasks.anomaly.views import NUM_VIEWS
from ovperc.tasks.detection.shifted_windows import WindowPlan, shifted_window_map
from ovperc.tasks.methods import list_methods, load_method

MORE_PASSES = {
    "winclip": "each window of patches is an image of its own (Jeong et al., section 4.1)",
    "sam_regions": "each region is cut out and encoded as an image of its own",
}
"""Methods that pass the tower more than once by definition. Two options do so too and are tested below: AnoVL's views
(``head.views``) and DITO's shifted tiles (``vlm.kind='shifted'``)."""


def _parts(backbone: DenseBackbone) -> tuple[nn.Module, list[nn.Module]]:
    """The embedding of the patches, and what every block runs once."""
    if isinstance(backbone, ClipViT):
        return backbone.tower.conv1, [block.mlp for block in backbone.tower.transformer.resblocks]
    if isinstance(backbone, TimmTransformer):
        return backbone.trunk.patch_embed.proj, [block.mlp for block in backbone.trunk.blocks]
    if isinstance(backbone, SamBackbone):
        return backbone.tower.patch_embed, [block.mlp for block in backbone.tower.blocks]
    if isinstance(backbone, ClipResNet):
        return backbone.tower.conv1, [backbone.tower.layer1, backbone.tower.layer4]
    assert isinstance(backbone, ClipConvNet)
    return backbone.tower.trunk.stem, list(backbone.tower.trunk.stages)


@contextmanager
def counted(backbone: DenseBackbone) -> Iterator[Counter]:
    """Counts calls of a tower's parts: ``embed`` and the number of each block."""
    calls: Counter = Counter()
    embed, blocks = _parts(backbone)
    handles = []
    for name, module in (("embed", embed), *enumerate(blocks)):
        handles.append(module.register_forward_hook(lambda *_, name=name: calls.update([name])))
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _assert_one_pass(backbone: DenseBackbone, calls: Counter, batches: int = 1) -> None:
    last = len(_parts(backbone)[1]) - 1
    assert calls["embed"] == batches
    assert all(calls[layer] == batches for layer in range(last)), calls
    assert calls[last] <= batches


@pytest.mark.parametrize("kind", [*FAMILIES, "vit-avg", "vit-coca", "timm-stem"])
@pytest.mark.parametrize("name", list_methods("segmentation"))
def test_segmentation(name: str, kind: str):
    if name == "clip_dinoiser" and kind == "resnet":
        pytest.skip("its heads read a block that a ResNet does not have")
    for max_tiles in (16, 2) if kind == "vit" else (16,):
        segmenter = segmenter_of(name, kind, max_tiles=max_tiles)
        image = blobs((96, 160))
        tiles = len(segmenter._cut(image).tiles)
        batches = -(-tiles // max_tiles)
        with counted(segmenter.clip.backbone) as calls:
            segmenter.encode(image)
        _assert_one_pass(segmenter.clip.backbone, calls, batches)
        if segmenter.guide is not None:
            with counted(segmenter.guide.backbone) as calls:
                segmenter.encode(image)
            _assert_one_pass(segmenter.guide.backbone, calls, batches)


@pytest.mark.parametrize("name", [name for name in list_methods("segmentation") if "sam" in name or "trident" in name])
def test_sam_beside_segmentation(name: str):
    segmenter = segmenter_of(name)
    parts = (getattr(segmenter, "aggregator", None), getattr(segmenter.refiner, "prompter", None))
    towers = {part.backbone for part in parts if part is not None}
    assert len(towers) == 1 or segmenter.guide is not None
    for tower in towers:
        with counted(tower) as calls:
            segmenter.encode(blobs((96, 160)))
        _assert_one_pass(tower, calls)


def test_a_refiner_on_the_aggregators_sam_answers_as_on_its_own():
    shared, apart = segmenter_of("trident_sam"), segmenter_of("trident_sam")
    apart._shares_sam = False
    image = blobs((96, 160))
    one, other = shared.encode(image), apart.encode(image)
    assert torch.equal(one.seen.embedding, other.seen.embedding) and not one.seen.features.taps
    loaded = ovperc.load("trident_sam").segmenter
    assert loaded.refiner.prompter.backbone is loaded.aggregator.backbone


def test_value_methods_on_convolutional_towers():
    segmenter = segmenter_of("maskclip", "convnext")
    with counted(segmenter.clip.backbone) as calls:
        segmenter.encode(blobs((96, 96)))
    _assert_one_pass(segmenter.clip.backbone, calls)


def _anomaly(name: str, kind: str):
    method = load_method(name, {"tiler": {"type": "SquareTiler", "size_px": 48}})
    if method.texts is not None:
        method = method.replace(texts={"type": "ComposedTexts", "prompts": "anovl"})
    if name == "april_gan":
        method = method.replace(head={**method.head, "adapters": LinearAdapters(WIDTH, EMBED_DIM, 2), "taps": (0, 2)})
    predictor = build_predictor(method, tiny_clip(kind, pos_embed=method.pos_embed))
    return predictor.fit([blobs((48, 48), seed=3)]) if predictor.head.needs_fit else predictor


@pytest.mark.parametrize("kind", ["vit", "vit-avg", "siglip", "timm-token", "timm-stem", "eva"])
@pytest.mark.parametrize("name", list_methods("anomaly"))
def test_anomaly(name: str, kind: str):
    if name == "winclip" and kind == "eva":
        pytest.skip("windows need a tower with a position table")
    predictor = _anomaly(name, kind)
    with counted(predictor.backbone) as calls:
        predictor.predict(blobs((48, 60)), "star")
    if name in MORE_PASSES:
        assert calls["embed"] == 1 and calls[0] == 1 + len(predictor.head.sides), MORE_PASSES[name]
    else:
        _assert_one_pass(predictor.backbone, calls)


def test_views_are_images_of_their_own():
    head, tower = TextMapHead(views=True), tiny_clip("vit").backbone
    with counted(tower) as calls, torch.inference_mode():
        head.read(tower, torch.zeros(2, 3, 48, 48))
    _assert_one_pass(tower, calls, NUM_VIEWS)


@pytest.mark.parametrize("name", list_methods("detection"))
def test_detection(name: str):
    predictor = ovperc.load(name)
    tower, image = predictor.detector.clip.backbone, blobs((112, 112))
    with counted(tower) as calls:
        predictor.encode(np.ascontiguousarray(image))
    if name in MORE_PASSES:
        assert calls["embed"] == 2, MORE_PASSES[name]
    else:
        _assert_one_pass(tower, calls)


@pytest.mark.parametrize("name", list_methods("panoptic"))
def test_panoptic(name: str):
    predictor = ovperc.load(name)
    segmenter = predictor.segmenter
    for tower in (segmenter.semantic.clip.backbone, segmenter.proposer.prompter.backbone):
        with counted(tower) as calls:
            encoded = predictor.encode(blobs((112, 112)))
        _assert_one_pass(tower, calls)
        with counted(tower) as calls:
            predictor.predict_encoded(encoded, "red star", stuff="brick")
        assert not calls


@torch.inference_mode()
def test_shifted_tiles_are_one_pass_more():
    """Both looks in one batch, after the pass that gives the heads their levels."""
    tower = tiny_clip("vit").backbone
    with counted(tower) as calls:
        shifted_window_map(tower, torch.zeros(1, 3, 48, 48), WindowPlan(splits=2, shift=1))
    assert calls == {"embed": 1, 0: 1, 1: 1, 2: 1}
