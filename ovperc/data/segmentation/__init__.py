"""Images with label maps: readers, mmsegmentation's data samples, and the benchmarks."""
