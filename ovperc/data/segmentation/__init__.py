"""Segmentation data sets: readers, mmsegmentation data samples, and benchmarks."""
