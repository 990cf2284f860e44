"""What every shipped method keeps to; a method is tested here by having a config."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from helpers.pictures import blobs
from helpers.tiny_guide import tiny_guide
from helpers.tiny_models import EMBED_DIM, tiny_clip, tiny_open_clip
from helpers.tiny_sam import tiny_sam
from ovperc.backbones.loading import ClipModel, wrap_open_clip
from ovperc.backbones.sam import SamBackbone
from ovperc.core.structures import TextBank
from ovperc.readout import DinoiserHeads, DinoiserReadout, Readout
from ovperc.refine.sam_prompt import SamPromptRefiner
from ovperc.tasks.methods import list_methods, load_method
from ovperc.tasks.segmentation.build import build_segmenter
from ovperc.tasks.segmentation.method import SegMethod
from ovperc.tasks.segmentation.segmenter import DenseSegmenter

METHODS = list_methods("segmentation")
FAMILIES = ("vit", "resnet", "siglip", "timm-token", "eva")
SIZES = [(48, 48), (37, 61), (53, 45)]


@functools.lru_cache(maxsize=16)
def tower(kind: str, pos_embed: str) -> ClipModel:
    return tiny_clip(kind, pos_embed=pos_embed)


def segmenter_of(name: str, kind: str = "vit", **overrides) -> DenseSegmenter:
    method = load_method(name)
    if method.guide is not None:
        overrides.setdefault("guide", tiny_guide(mean_over=method.guide.get("mean_over", "tile")))
    overrides.update(tiny_heads(method, tower(kind, method.pos_embed)))
    overrides.update(tiny_splice(method))
    return build_segmenter(method, tower(kind, method.pos_embed), **overrides)


def tiny_heads(method: SegMethod, clip: ClipModel) -> dict[str, Readout]:
    """Random heads that fit the tower, for methods with trained ones."""
    if method.readout["type"] != "DinoiserReadout":
        return {}
    with torch.random.fork_rng():
        torch.manual_seed(6)
        return {"readout": DinoiserReadout(heads=DinoiserHeads(clip.backbone.width, 8))}


def tiny_splice(method: SegMethod) -> dict[str, Any]:
    """A small SAM for methods that average over the whole image by one, or redraw labels with one."""
    parts: dict[str, Any] = {}
    sam = SamBackbone(tiny_sam())
    if method.splice is not None:
        settings = {key: value for key, value in method.splice["aggregator"].items() if key not in ("weights", "mini")}
        parts["splice"] = {"aggregator": {**settings, "backbone": sam}}
    if method.refiner is not None and method.refiner["type"] == "SamPromptRefiner":
        parts["refiner"] = SamPromptRefiner(backbone=sam, iou_threshold=-99.0)
    return parts


def make_bank(clip: ClipModel, queries: int = 5) -> TextBank:
    rows = F.normalize(torch.randn(9, EMBED_DIM, generator=torch.Generator().manual_seed(2)), dim=1)[:queries]
    return TextBank(rows, torch.arange(queries), tuple(map(str, range(queries))), clip.fingerprint)


def scores_of(segmenter: DenseSegmenter, image: np.ndarray, queries: int = 5) -> torch.Tensor:
    return segmenter.scores(segmenter.encode(image), make_bank(segmenter.clip, queries), raw=True)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("kind", FAMILIES)
def test_every_tower_family_at_odd_sizes(name: str, kind: str):
    segmenter = segmenter_of(name, kind)
    if name == "clip_dinoiser" and kind == "resnet":
        with pytest.raises(ValueError, match="outside a tower of 1 blocks"):
            segmenter.encode(blobs(SIZES[0]))
        return
    for size in SIZES[1:]:
        encoded = segmenter.encode(blobs(size))
        result = segmenter.segment(encoded, make_bank(segmenter.clip))
        assert result.labels.shape == result.confidence.shape == size
        assert result.labels.dtype == torch.int32
        assert torch.isfinite(result.confidence).all()
        assert 0.0 <= float(result.confidence.min()) <= float(result.confidence.max()) <= 1.0
        norms = encoded.embeddings.patches.norm(dim=1)
        assert torch.allclose(norms, torch.ones(()), atol=1e-4)


def test_value_only_methods_run_on_convolutional_towers():
    segmenter = segmenter_of("maskclip", "convnext")
    assert segmenter.segment(segmenter.encode(blobs((70, 99))), make_bank(segmenter.clip)).labels.shape == (70, 99)
    with pytest.raises(ValueError, match="maskclip"):
        segmenter_of("clearclip", "convnext").encode(blobs((70, 99)))


@pytest.mark.parametrize("name", METHODS)
def test_neighbours_and_order_in_a_batch_do_not_matter(name: str):
    segmenter = segmenter_of(name, max_tiles=5)
    images = [blobs(size, seed) for seed, size in enumerate([*SIZES, SIZES[0]])]
    forwards = segmenter.encode_batch(images)
    backwards = segmenter.encode_batch(images[::-1])[::-1]
    for image, first, second in zip(images, forwards, backwards, strict=True):
        alone = segmenter.encode(image)
        for other in (first, second):
            for part in ("patches", "keys", "pooled"):
                expected, found = getattr(alone.embeddings, part), getattr(other.embeddings, part)
                assert (expected is None) == (found is None)
                assert expected is None or torch.allclose(expected, found, atol=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_two_calls_are_equal_and_leave_nothing_behind(name: str):
    segmenter = segmenter_of(name)
    modules = (segmenter.clip.backbone, segmenter.readout)
    before = [{key: value.clone() for key, value in module.state_dict().items()} for module in modules]
    image, bank = blobs((64, 80)), make_bank(segmenter.clip)
    first = segmenter.segment(segmenter.encode(image), bank)
    segmenter.encode(blobs((101, 53), seed=1))
    segmenter.segment(segmenter.encode(blobs((48, 48), seed=2)), make_bank(segmenter.clip, 2))
    second = segmenter.segment(segmenter.encode(image), bank)
    assert torch.equal(first.labels, second.labels)
    assert torch.equal(first.confidence, second.confidence)
    for module, state in zip(modules, before, strict=True):
        assert module.state_dict().keys() == state.keys()
        assert all(torch.equal(value, state[key]) for key, value in module.state_dict().items())
        assert not any(hooks for part in module.modules() for hooks in (part._forward_hooks, part._forward_pre_hooks))


@pytest.mark.parametrize("name", [name for name in METHODS if load_method(name).logit_rule is None])
def test_raw_scores_do_not_depend_on_other_classes(name: str):
    """Score rules work by what the vocabulary shares, so methods with one are left out."""
    segmenter = segmenter_of(name)
    image = blobs((64, 80))
    few, many = scores_of(segmenter, image, queries=3), scores_of(segmenter, image, queries=9)
    assert torch.allclose(few, many[:3], atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", METHODS)
def test_half_precision_agrees(name: str, dtype: torch.dtype):
    method = load_method(name)
    full = segmenter_of(name)
    model = tiny_open_clip("vit")
    clip = wrap_open_clip(model, arch="tiny-vit", source="random", pos_embed=method.pos_embed, dtype=dtype)
    guide = {} if method.guide is None else {"guide": tiny_guide(dtype=dtype)}
    half = build_segmenter(method, clip, **guide, **tiny_heads(method, clip), **tiny_splice(method))
    image = blobs((64, 80))
    wide, narrow = full.encode(image).embeddings, half.encode(image).embeddings
    assert narrow.patches.dtype == torch.float32
    agreement = (wide.patches * narrow.patches).sum(dim=1)
    assert float(agreement.min()) > (0.99 if dtype == torch.bfloat16 else 0.999)


@pytest.mark.parametrize("name", METHODS)
def test_windows_and_whole_images_both_run(name: str):
    for view in ({"short_side_px": 48}, {"short_side_px": 64, "crop_px": 48, "stride_px": 24}):
        spliced = load_method(name).splice is not None
        segmenter = segmenter_of(name, tiler={"type": "Tiler", **view, "whole_patches": spliced})
        encoded = segmenter.encode(blobs((50, 110)))
        assert (encoded.stitcher.geometry.num_tiles > 1) == ("crop_px" in view and not spliced)
        assert segmenter.segment(encoded, make_bank(segmenter.clip)).labels.shape == (50, 110)
