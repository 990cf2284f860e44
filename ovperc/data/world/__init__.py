"""The procedural world: scenes with captions, masks and defects, drawn from seeds."""
