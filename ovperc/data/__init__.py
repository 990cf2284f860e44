"""Datasets, samplers and the table of benchmarks.

Reading images does not require torch (exported models need it), so the sampler is imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ovperc.data.sampling import PositionSampler as PositionSampler
    from ovperc.data.sampling import SeededDataset as SeededDataset

__all__ = ["PositionSampler", "SeededDataset"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'ovperc.data' has no attribute {name!r}; available: {', '.join(__all__)}")
    from ovperc.data import sampling

    return getattr(sampling, name)
