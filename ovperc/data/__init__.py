"""Images, datasets, samplers and the table of benchmarks."""

from ovperc.data.sampling import PositionSampler, SeededDataset

__all__ = ["PositionSampler", "SeededDataset"]
