"""Trident's splice and correlation against naive loops over windows, heads and pairs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from helpers.tiny_guide import tiny_guide
from helpers.tiny_models import WIDTH, tiny_clip
from helpers.tiny_sam import tiny_sam
from ovperc.affinity.sam_correlation import SamCorrelation
from ovperc.backbones.sam import SamBackbone
from ovperc.readout import DinoiserHeads, DinoiserReadout
from ovperc.tasks.methods import load_method
from ovperc.tasks.segmentation.build import build_segmenter
from ovperc.tiling import Tiler, as_one_tile, splice
from tests.backbones.test_sam import plain_attention


def draw(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


@pytest.mark.parametrize("ratio", [1, 2])
def test_splice_is_a_loop_over_cells(ratio: int):
    geometry = Tiler(short_side_px=44, crop_px=32, stride_px=16, whole_patches=True).plan((44, 70), 8)
    assert geometry.resized_hw == (48, 72)
    side = 4 * ratio
    tokens = torch.randn(geometry.num_tiles, side * side, 3, generator=torch.Generator().manual_seed(0))
    result = splice(tokens, (side, side), geometry, 8)
    sums: dict[tuple[int, int], list[torch.Tensor]] = {}
    index = 0
    for y in geometry.starts_y:
        for x in geometry.starts_x:
            for cell in range(side * side):
                place = (y // 8 * ratio + cell // side, x // 8 * ratio + cell % side)
                sums.setdefault(place, []).append(tokens[index, cell])
            index += 1
    assert len(sums) == 6 * 9 * ratio**2
    for (row, column), values in sums.items():
        assert torch.allclose(result[:, row, column], torch.stack(values).mean(0), atol=1e-6)
    assert as_one_tile(geometry).num_tiles == 1


def test_odd_grids_are_resized_to_the_towers():
    geometry = Tiler(crop_px=24, whole_patches=True).plan((24, 24), 8)
    tokens = torch.randn(1, 16, 2)
    expected = F.interpolate(tokens.transpose(1, 2).unflatten(2, (4, 4)), (3, 3), mode="bilinear")[0]
    assert torch.allclose(splice(tokens, (4, 4), geometry, 8), expected, atol=1e-6)
    with pytest.raises(ValueError, match="whole_patches"):
        splice(tokens, (4, 4), Tiler(crop_px=24).plan((30, 30), 8), 8)


@torch.inference_mode()
def plain_matrix(
    correlation: SamCorrelation, image: np.ndarray, cos_factor: float, keep_negative: bool
) -> torch.Tensor:
    """Every matrix stored, in the released order of steps."""
    pixels, (height, width) = correlation.prompter.pixels(image)
    backbone = correlation.backbone
    features = backbone.forward_dense(pixels, ["-1.in", "-1.v"])
    block = backbone.tower.blocks[-1]
    attention = plain_attention(block, features["-1.in"].unflatten(1, (12, 12)))[0]
    h, w = height // 8, width // 8
    grid = torch.zeros(12, 12, dtype=torch.bool)
    grid[:h, :w] = True
    keep = grid.flatten()
    attention = attention[:, keep][:, :, keep]
    values = F.normalize(features["-1.v"][0].unflatten(-1, (2, -1)).transpose(0, 1)[:, keep], dim=-1)
    cosine = values @ values.transpose(1, 2)
    tau = cos_factor * cosine.mean(-1).mean(0)
    for index in range(len(tau)):
        if not keep_negative and tau[index] < 0:
            tau[index] = 0.6
        if tau[index] > 0.9:
            tau[index] = 0.9
    related = (attention * (cosine > tau[None, :, None])).mean(0)
    return related / related.sum(-1, keepdim=True)


@pytest.mark.parametrize("size", [(96, 96), (60, 90), (90, 31)])
@pytest.mark.parametrize(("cos_factor", "keep_negative"), [(1.2, True), (3.0, False), (0.0, True), (-1.0, False)])
def test_correlation_is_the_stored_one(size: tuple[int, int], cos_factor: float, keep_negative: bool):
    correlation = SamCorrelation(backbone=SamBackbone(tiny_sam()), cos_factor=cos_factor, keep_negative=keep_negative)
    image = draw(size)
    seen = correlation.embed(image)
    matrix = correlation.matrix(seen)
    expected = plain_matrix(correlation, image, cos_factor, keep_negative)
    assert matrix.shape == expected.shape
    assert torch.allclose(matrix, expected, atol=1e-5)
    assert torch.allclose(matrix.sum(-1), torch.ones(len(matrix)), atol=1e-5)
    canvas = torch.randn(5, 3, 4)
    h, w = correlation.grid(seen)
    resized = F.interpolate(canvas[None], (h, w), mode="bilinear")[0].flatten(1).T
    assert torch.allclose(correlation.aggregate(seen, canvas), (matrix @ resized).T.unflatten(1, (h, w)), atol=1e-5)


def trident(**overrides):
    method = load_method("trident", {"native_px": 48})
    clip = tiny_clip("vit", pos_embed="scale")
    aggregator = {"type": "SamCorrelation", "backbone": SamBackbone(tiny_sam())}
    tiler = {"type": "Tiler", "short_side_px": 64, "crop_px": 48, "stride_px": 32, "whole_patches": True}
    settings = {"guide": tiny_guide(mean_over="image"), "splice": {"aggregator": aggregator}, "tiler": tiler}
    return build_segmenter(method, clip, **{**settings, **overrides})


def test_chunks_and_neighbours_do_not_matter():
    images = [draw((70, 100)), draw((40, 40), 1)]
    wide, narrow = trident().encode_batch(images), trident(max_tiles=1)
    for image, together in zip(images, wide, strict=True):
        alone = narrow.encode(image)
        assert torch.allclose(alone.embeddings.patches, together.embeddings.patches, atol=1e-5)
        assert alone.stitcher.geometry.num_tiles == 1
        assert alone.original_hw == image.shape[:2]


@pytest.mark.parametrize("size", [(1, 60), (60, 1), (5, 7), (1, 1)])
def test_tiny_images_have_an_answer(size: tuple[int, int]):
    encoded = trident().encode(draw(size))
    assert torch.isfinite(encoded.embeddings.patches).all()
    assert encoded.original_hw == size


def test_one_window_without_aggregator_is_proxyclip():
    tiler = {"type": "Tiler", "short_side_px": 48, "whole_patches": True}
    image = draw((48, 48))
    spliced = trident(splice={}, tiler=tiler).encode(image)
    plain = build_segmenter(
        load_method("proxyclip"), tiny_clip("vit", pos_embed="scale"), guide=tiny_guide(), tiler=tiler
    ).encode(image)
    assert torch.allclose(spliced.embeddings.patches, plain.embeddings.patches, atol=1e-5)


def test_what_cannot_be_spliced_is_refused():
    with pytest.raises(ValueError, match="cannot be spliced"):
        trident(readout=DinoiserReadout(heads=DinoiserHeads(WIDTH, 8)))
    with pytest.raises(ValueError, match="KeySmoothing"):
        trident(logit_rule={"type": "KeySmoothing"})
    with pytest.raises(ValueError, match="either weights"):
        SamCorrelation()
    with pytest.raises(ValueError, match="splice must be"):
        load_method("trident").replace(splice=3)
