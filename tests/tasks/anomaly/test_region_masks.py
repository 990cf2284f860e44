"""A region's outlines hold all of its pixels."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import label

from ovperc.tasks.anomaly.regions import find_regions


@pytest.mark.parametrize("seed", range(8))
def test_masks_are_the_connected_components(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = np.kron(rng.random((9, 12)), np.ones((2, 2))) if seed % 2 else rng.random((17, 23))
    components, count = label(scores >= 0.5, structure=np.ones((3, 3)))
    regions = find_regions(scores, 0.5)
    assert len(regions) == count
    for region in regions:
        mask = region.mask(scores.shape)
        (number,) = np.unique(components[mask])
        assert np.array_equal(mask, components == number) and mask.sum() == region.area_px
