"""Output formats: one module each, and the table behind ``ovperc predict --format``."""
