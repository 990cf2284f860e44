"""Images divided into segments of things and stuff, and the benchmarks that are made of them."""
