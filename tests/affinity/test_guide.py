"""ProxyCLIP's affinity against explicit N x N sums, and the whole method against a plain implementation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from helpers.plain_methods import embed, finish, heads_of
from helpers.tiny_guide import tiny_dino, tiny_guide
from helpers.tiny_models import tiny_clip, tiny_open_clip
from ovperc.affinity import AttentionInputs, GuideAffinity
from ovperc.backbones.guide import renormalize
from ovperc.core.structures import GuideFeatures
from ovperc.registry import GUIDES, READOUTS
from ovperc.tasks.methods import load_method, read_method
from ovperc.tasks.segmentation.build import build_segmenter
from ovperc.tiling.preprocess import Preprocess

CLIP = Preprocess((0.48, 0.46, 0.41), (0.27, 0.26, 0.28), 48)


def features_of(batch: int = 2, grid: tuple[int, int] = (4, 6)) -> GuideFeatures:
    generator = torch.Generator().manual_seed(0)
    raw = torch.randn(batch, grid[0] * grid[1], 8, generator=generator) + 0.5
    unit = F.normalize(raw, dim=-1)
    return GuideFeatures(unit, grid, unit.mean(1).square().sum(-1))


def plain_matrix(unit: torch.Tensor, beta: float, gamma: float, mean: torch.Tensor | None = None) -> torch.Tensor:
    """``(n, n)`` of one window, as the card writes it."""
    similarity = unit @ unit.T
    logits = gamma * (similarity - beta * (similarity.mean() if mean is None else mean))
    logits[logits < 0] = float("-inf")
    return logits.softmax(-1)


def test_mean_similarity_has_a_closed_form():
    guide = tiny_guide()
    described = guide.describe(torch.randn(3, 3, 24, 32, generator=torch.Generator().manual_seed(1)), CLIP)
    explicit = torch.stack([(unit @ unit.T).mean() for unit in described.patches])
    assert torch.allclose(described.mean_similarity, explicit, atol=1e-6)
    assert described.grid_hw == (6, 8)


def test_masked_softmax_on_another_grid():
    guide = features_of()
    values = torch.randn(2, 3, 1 + 6, 5, generator=torch.Generator().manual_seed(2))
    inputs = AttentionInputs({"v": values}, (2, 3), 1, guide)
    affinity = GuideAffinity()
    result = affinity.aggregate(inputs, values)
    assert result.shape == (2, 3, 24, 5)
    assert torch.allclose(result, affinity.weights(inputs) @ values, atol=1e-5)
    for window in range(2):
        for head in range(3):
            grid = values[window, head, 1:].T.reshape(1, 5, 2, 3)
            spread = F.interpolate(grid, (4, 6), mode="bilinear").flatten(2)[0].T
            expected = plain_matrix(guide.patches[window], 1.2, 3.0) @ spread
            assert torch.allclose(result[window, head], expected, atol=1e-5)


def test_a_blank_window_keeps_the_diagonal():
    unit = F.normalize(torch.ones(1, 24, 8), dim=-1)
    guide = GuideFeatures(unit, (4, 6), unit.mean(1).square().sum(-1))
    values = torch.randn(1, 2, 24, 5)
    assert not torch.isfinite(plain_matrix(unit[0], 1.2, 3.0)).any()
    result = GuideAffinity().aggregate(AttentionInputs({"v": values}, (4, 6), 0, guide), values)
    assert torch.allclose(result, values, atol=1e-6)
    released = GuideAffinity(parity=True).aggregate(AttentionInputs({"v": values}, (4, 6), 0, guide), values)
    assert torch.isnan(released).all()


def test_means_are_of_a_window_or_of_an_image_never_of_the_batch():
    tiles = torch.randn(5, 3, 24, 24, generator=torch.Generator().manual_seed(3))
    apart = tiny_guide().describe(tiles, CLIP)
    image = tiny_guide(mean_over="image")
    parts = [image.describe(part, CLIP) for part in tiles.split(2)]
    shared = torch.cat([part.mean_similarity for part in image.share_means(parts, [3, 2])])
    first, second = apart.mean_similarity[:3].mean(), apart.mean_similarity[3:].mean()
    assert torch.allclose(shared, torch.stack([first] * 3 + [second] * 2), atol=1e-6)
    explicit = torch.stack([unit @ unit.T for unit in apart.patches[:3]]).mean()
    assert torch.allclose(first, explicit, atol=1e-6)
    same = torch.cat([part.mean_similarity for part in tiny_guide().share_means(iter(parts), [3, 2])])
    assert torch.allclose(same, apart.mean_similarity, atol=1e-6)


def test_renormalising_is_one_affine_map():
    pixels = torch.rand(2, 3, 5, 5)
    new = Preprocess((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 224)
    mean, std, mean_new, std_new = (torch.tensor(v).view(1, 3, 1, 1) for v in (CLIP.mean, CLIP.std, new.mean, new.std))
    result = renormalize((pixels - mean) / std, CLIP, new)
    assert torch.allclose(result, (pixels - mean_new) / std_new, atol=1e-5)


@torch.no_grad()
def plain_proxyclip(images: torch.Tensor) -> torch.Tensor:
    """ProxyCLIP as its code computes it: heads one by one, stored matrices, W_o on the second tower's grid."""
    visual, dino = tiny_open_clip("vit", seed=3).visual, tiny_dino()
    features = F.normalize(dino.forward_features(renormalize(images, CLIP, IMAGENET))[:, 1:], dim=-1)
    tokens, grid = embed(visual, images)
    for block in visual.transformer.resblocks[:-1]:
        tokens = block(tokens)
    block = visual.transformer.resblocks[-1]
    values = heads_of(block, tokens)["v"][:, :, 1:]
    size = (2 * grid[0], 2 * grid[1])
    mixed = []
    for window, unit in enumerate(features):
        matrix = plain_matrix(unit, 1.2, 3.0)
        planes = values[window].transpose(1, 2).unflatten(2, grid)
        spread = F.interpolate(planes, size, mode="bilinear").flatten(2).transpose(1, 2)
        mixed.append(torch.cat([matrix @ head for head in spread], dim=-1))
    result = torch.stack(mixed) @ block.attn.out_proj.weight.T + block.attn.out_proj.bias
    return finish(visual, torch.cat([result[:, :1], result], dim=1), size)


IMAGENET = Preprocess((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 24)


def test_the_method_is_the_plain_one():
    images = torch.randn(2, 3, 24, 24, generator=torch.Generator().manual_seed(5))
    expected = plain_proxyclip(images)
    readout = READOUTS.build(dict(load_method("proxyclip").readout))
    backbone, guide = tiny_clip("vit", seed=3).backbone, tiny_guide()
    with torch.inference_mode():
        features = backbone.forward_dense(images, readout.taps(backbone))
        result = readout(backbone, features, guide.describe(images, CLIP)).patches
    assert result.shape == expected.shape
    assert (result - expected).abs().max() <= 1e-4 * expected.abs().max()


def test_residual_and_feed_forward_travel_to_the_new_grid():
    backbone, guide = tiny_clip("vit").backbone, tiny_guide()
    images = torch.randn(1, 3, 24, 40)
    readout = READOUTS.build({"type": "BlockReadout", "affinity": {"type": "GuideAffinity"}})
    with torch.inference_mode():
        features = backbone.forward_dense(images, readout.taps(backbone, with_keys=True))
        result = readout(backbone, features, guide.describe(images, CLIP), with_keys=True)
    assert result.grid_hw == (6, 10)
    assert result.keys.shape[1] == 60


@pytest.mark.parametrize("mean_over", ["tile", "image"])
def test_chunks_and_neighbours_do_not_matter(mean_over: str):
    method = load_method("proxyclip")
    images = [np.random.default_rng(seed).integers(0, 256, (60, 90, 3), dtype=np.uint8) for seed in range(2)]
    clip, guide = tiny_clip("vit", pos_embed="scale"), tiny_guide(mean_over=mean_over)
    wide = build_segmenter(method, clip, guide=guide).encode_batch(images)
    narrow = build_segmenter(method, clip, guide=guide, max_tiles=2)
    for image, together in zip(images, wide, strict=True):
        assert torch.allclose(narrow.encode(image).embeddings.patches, together.embeddings.patches, atol=1e-5)


def test_configs_pick_the_second_tower(monkeypatch: pytest.MonkeyPatch):
    asked = []
    monkeypatch.setitem(GUIDES._module_dict, "DinoGuide", lambda **settings: asked.append(settings))
    clip = tiny_clip("vit", pos_embed="scale")
    build_segmenter(load_method("proxyclip"), clip)
    build_segmenter(read_method("proxyclip").on("clip-mini").method, clip)
    build_segmenter(load_method("proxyclip", {"guide.weights": "mae-vitb16"}), clip)
    assert [settings["weights"] for settings in asked] == ["dino-vitb8", "dino-mini", "mae-vitb16"]


def test_without_a_second_tower_it_says_so():
    clip = tiny_clip("vit", pos_embed="scale")
    segmenter = build_segmenter(load_method("proxyclip", {"guide": None}), clip)
    with pytest.raises(ValueError, match="second tower"):
        segmenter.encode(np.zeros((48, 48, 3), np.uint8))
    with pytest.raises(ValueError, match="gamma"):
        GuideAffinity(gamma=0)
    with pytest.raises(ValueError, match="did you mean 'tile'"):
        tiny_guide(mean_over="tiles")
