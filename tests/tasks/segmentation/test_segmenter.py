"""The segmenter: encode once, ask many words; batches, windows, and what it refuses."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from helpers.tiny_models import EMBED_DIM, tiny_clip
from ovperc.affinity import Identity
from ovperc.core.structures import Background, TextBank
from ovperc.readout import BlockReadout
from ovperc.refine.pamr import PAMR
from ovperc.tasks.methods import load_method
from ovperc.tasks.segmentation.build import build_segmenter
from ovperc.tasks.segmentation.segmenter import DenseSegmenter, ImageEmbeddings
from ovperc.text.classifier import StreamingClassifier
from ovperc.tiling import Tiler


def draw(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def make_bank(fingerprint: str, queries: int = 6, **fields) -> TextBank:
    rows = F.normalize(torch.randn(queries, EMBED_DIM, generator=torch.Generator().manual_seed(7)), dim=1)
    names = tuple(f"class {index}" for index in range(queries))
    return TextBank(rows, torch.arange(queries), names, fingerprint, **fields)


def make_segmenter(**parts) -> DenseSegmenter:
    settings = {
        "clip": tiny_clip("vit"),
        "readout": BlockReadout(Identity()),
        "tiler": Tiler(short_side_px=64, crop_px=48, stride_px=24),
        "classifier": StreamingClassifier(),
    }
    return DenseSegmenter(**{**settings, **parts})


def test_the_stages_by_hand():
    """Whole image at its own size: normalise, tower, readout, cosine, bilinear resize, arg-max, softmax."""
    segmenter = make_segmenter(tiler=Tiler())
    image = draw(48, 72)
    bank = make_bank(segmenter.clip.fingerprint)
    encoded = segmenter.encode(image)
    result = segmenter.segment(encoded, bank)
    preprocess, backbone = segmenter.clip.preprocess, segmenter.clip.backbone
    pixels = (torch.from_numpy(image).float() / 255 - torch.tensor(preprocess.mean)) / torch.tensor(preprocess.std)
    with torch.inference_mode():
        features = backbone.forward_dense(pixels.permute(2, 0, 1)[None], ["-1.in", "-1.v"])
        patches = segmenter.readout(backbone, features).patches
        logits = torch.einsum("behw,qe->bqhw", patches, bank.embeddings)
        logits = F.interpolate(logits, size=(48, 72), mode="bilinear", align_corners=False)[0]
        probabilities = (40.0 * logits).softmax(0)
    assert encoded.original_hw == (48, 72)
    assert torch.equal(result.labels.long(), logits.argmax(0))
    assert torch.allclose(result.confidence, probabilities.amax(0), atol=1e-5)
    assert torch.allclose(segmenter.scores(encoded, bank), probabilities, atol=1e-5)
    assert torch.allclose(segmenter.scores(encoded, bank, raw=True), logits, atol=1e-5)


def test_a_batch_of_mixed_sizes_equals_one_by_one():
    segmenter = make_segmenter(max_tiles=3)
    images = [draw(64, 96, 1), draw(50, 40, 2), draw(64, 96, 3), draw(31, 97, 4)]
    bank = make_bank(segmenter.clip.fingerprint)
    for image, together in zip(images, segmenter.encode_batch(images), strict=True):
        alone = segmenter.encode(image)
        assert torch.allclose(together.embeddings.patches, alone.embeddings.patches, atol=1e-5)
        first, second = segmenter.segment(together, bank), segmenter.segment(alone, bank)
        assert first.labels.shape == image.shape[:2]
        assert torch.allclose(first.confidence, second.confidence, atol=1e-5)
        assert (first.labels == second.labels).float().mean() > 0.999
    assert segmenter.encode_batch([]) == []


def test_an_encoded_image_does_not_keep_its_batch():
    segmenter = make_segmenter()
    encoded = segmenter.encode_batch([draw(64, 64, seed) for seed in range(3)])[0]
    patches = encoded.embeddings.patches
    assert patches.untyped_storage().nbytes() == patches.numel() * patches.element_size()


@pytest.mark.parametrize("max_tiles", [1, 2, 100])
def test_max_tiles_bounds_the_forward_pass(monkeypatch: pytest.MonkeyPatch, max_tiles: int):
    segmenter = make_segmenter(max_tiles=max_tiles)
    seen: list[int] = []
    forward = segmenter.clip.backbone.forward_dense
    monkeypatch.setattr(
        segmenter.clip.backbone, "forward_dense", lambda tiles, taps: seen.append(len(tiles)) or forward(tiles, taps)
    )
    encoded = segmenter.encode(draw(64, 100))
    assert max(seen) <= max_tiles
    assert sum(seen) == len(encoded.embeddings.patches) == encoded.stitcher.geometry.num_tiles == 8


def test_new_words_need_no_second_encoding(monkeypatch: pytest.MonkeyPatch):
    segmenter = make_segmenter()
    encoded = segmenter.encode(draw(64, 64))
    monkeypatch.setattr(segmenter.clip.backbone, "forward_dense", None)
    for queries in (1, 4, 9):
        result = segmenter.segment(encoded, make_bank(segmenter.clip.fingerprint, queries))
        assert int(result.labels.max()) < queries


def test_background_threshold():
    segmenter = make_segmenter()
    encoded = segmenter.encode(draw(64, 64))
    bank = make_bank(segmenter.clip.fingerprint, background=Background(threshold=1.0))
    assert int(segmenter.segment(encoded, bank).labels.max()) == 0


def test_a_bank_of_another_encoder_is_refused():
    segmenter = make_segmenter()
    with pytest.raises(ValueError, match="another"):
        segmenter.segment(segmenter.encode(draw(64, 64)), make_bank("another"))


def test_the_refiner_gets_the_image_at_its_original_size():
    plain, refined = make_segmenter(), make_segmenter(refiner=PAMR(steps=2, dilations=(1, 2)))
    image = draw(40, 56)
    bank = make_bank(plain.clip.fingerprint)
    before, encoded = plain.encode(image), refined.encode(image)
    assert before.guidance is None
    raw = plain.scores(before, bank, raw=True)
    guidance = F.interpolate(encoded.guidance[None], (40, 56), mode="bilinear", align_corners=False)[0]
    expected = refined.refiner.refine(raw, refined.refiner.prepare(guidance))
    assert torch.allclose(refined.scores(encoded, bank, raw=True), expected, atol=1e-5)
    with pytest.raises(ValueError, match="guidance"):
        refined.segment(before, bank)


def test_score_rules_get_what_they_need():
    clip = tiny_clip("vit")
    for rule, field, width in (("KeySmoothing", "keys", clip.backbone.width), ("FeatureSurgery", "pooled", EMBED_DIM)):
        method = load_method("maskclip").replace(logit_rule={"type": rule})
        segmenter = build_segmenter(method, clip, tiler=Tiler(crop_px=48, stride_px=24))
        encoded = segmenter.encode(draw(72, 48))
        assert getattr(encoded.embeddings, field).shape[0] == encoded.stitcher.geometry.num_tiles
        assert getattr(encoded.embeddings, field).shape[-1] == width
        assert segmenter.segment(encoded, make_bank(clip.fingerprint)).labels.shape == (72, 48)
    assert make_segmenter().encode(draw(48, 48)).embeddings.keys is None


def test_building_a_method():
    clip = tiny_clip("vit", pos_embed="scale")
    segmenter = build_segmenter(load_method("sclip"), clip, max_tiles=4)
    assert segmenter.readout.affinity.pairs == ("qq", "kk")
    assert (segmenter.tiler.short_side_px, segmenter.tiler.crop_px, segmenter.tiler.stride_px) == (72, 48, 24)
    assert segmenter.classifier.logit_scale == 40.0
    assert segmenter.max_tiles == 4
    readout = BlockReadout(Identity())
    other = build_segmenter(load_method("sclip"), clip, readout=readout, refiner={"type": "PAMR"})
    assert other.readout is readout
    assert isinstance(other.refiner, PAMR)
    official = load_method("sclip").replace(preprocess={"mean": (0.5,) * 3, "std": (0.25,) * 3})
    assert build_segmenter(official, clip).clip.preprocess.mean == (0.5,) * 3
    assert clip.preprocess.mean != (0.5,) * 3


def test_building_errors():
    clip = tiny_clip("vit", pos_embed="size")
    method = load_method("sclip")
    with pytest.raises(ValueError, match="pos_embed='scale'"):
        build_segmenter(method, clip)
    assert build_segmenter(method, clip, pos_embed="size").clip.backbone.pos_embed == "size"
    with pytest.raises(ValueError, match="did you mean 'refiner'"):
        build_segmenter(method, clip, refinr=None)
    with pytest.raises(ValueError, match="did you mean 'PAMR'"):
        build_segmenter(method, clip, pos_embed="size", refiner={"type": "PAMRR"})
    with pytest.raises(ValueError, match="max_tiles"):
        make_segmenter(max_tiles=0)


@pytest.mark.parametrize(
    "image", ["photo.jpg", np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), torch.zeros(4, 4, 3)]
)
def test_only_rgb_arrays_are_taken(image):
    with pytest.raises(TypeError, match="uint8"):
        make_segmenter().encode(image)
    with pytest.raises(ValueError, match="pixel"):
        make_segmenter().encode(np.zeros((0, 4, 3), np.uint8))


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 2), (7, 5)])
def test_images_smaller_than_a_patch(size: tuple[int, int]):
    segmenter = make_segmenter()
    result = segmenter.segment(segmenter.encode(draw(*size)), make_bank(segmenter.clip.fingerprint))
    assert result.labels.shape == result.confidence.shape == size


def test_encoded_images_are_frozen():
    encoded = make_segmenter().encode(draw(48, 48))
    assert isinstance(encoded, ImageEmbeddings)
    with pytest.raises(dataclasses.FrozenInstanceError):
        encoded.guidance = None
