"""Side-by-side measurements: ratios of two callables timed in turn in one run, and peak memory."""
