"""Batched windows against one forward pass per window; the closed form of the harmonic mean against loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from helpers.tiny_models import tiny_clip
from ovperc.tasks.anomaly.windows import TOKENS, encode_windows, harmonic_aggregate, harmonic_mean, window_index


@torch.inference_mode()
@pytest.mark.parametrize("kind", ["vit", "vit-avg", "timm-stem"])
def test_windows_equal_a_loop(kind):
    tower = tiny_clip(kind).backbone
    images = torch.randn(2, 3, 40, 48, generator=torch.Generator().manual_seed(0))
    tokens, (height, width), _ = tower.embed(images)
    prefix = tower.num_prefix
    planes = tokens[:, prefix:].unflatten(1, (height, width))
    wanted = []
    for y in range(height - 1):
        for x in range(width - 1):
            window = planes[:, y : y + 2, x : x + 2].flatten(1, 2)
            hidden = torch.cat([tokens[:, :prefix], window], dim=1)
            for layer in range(tower.depth):
                hidden = tower.view(layer).run(hidden)
            wanted.append(tower.pool(hidden, (2, 2)))
    found = encode_windows(tower, tower.forward_dense(images, [TOKENS]), (2, 3))
    assert_close(found[2], torch.stack(wanted, dim=1), atol=1e-4, rtol=1e-4)
    assert found[3].shape[1] == (height - 2) * (width - 2)


def test_harmonic_mean_over_covering_windows():
    scores = torch.rand(2, 3 * 4, generator=torch.Generator().manual_seed(1)) + 0.05
    found = harmonic_aggregate(scores, (4, 5), 2)
    for image in range(2):
        plane = scores[image].view(3, 4).numpy()
        for y in range(4):
            for x in range(5):
                covering = [plane[v, u] for v in (y - 1, y) for u in (x - 1, x) if 0 <= v < 3 and 0 <= u < 4]
                wanted = len(covering) / np.sum(1 / np.array(covering))
                assert_close(float(found[image, y * 5 + x]), float(wanted), atol=1e-5, rtol=1e-5)


def test_zero_scores_and_planes():
    assert float(harmonic_aggregate(torch.zeros(1, 4), (3, 3), 2).max()) < 1e-20
    assert_close(harmonic_mean([torch.tensor([0.5]), torch.tensor([1.0])]), torch.tensor([2 / 3]))
    assert torch.isfinite(harmonic_mean([torch.tensor([0.0]), torch.tensor([1.0])])).all()


def test_index_and_small_grids():
    assert window_index((2, 3), 2).tolist() == [[0, 1, 3, 4], [1, 2, 4, 5]]
    with pytest.raises(ValueError, match="does not fit a grid"):
        window_index((2, 3), 3)
    for kind, side, message in (("eva", 48, "position table"), ("resnet", 96, "transformer tower")):
        tower = tiny_clip(kind).backbone
        features = tower.forward_dense(torch.randn(1, 3, side, side), [TOKENS])
        with pytest.raises(ValueError, match=message):
            encode_windows(tower, features, (2,))
