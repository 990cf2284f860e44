"""Output formats: one file each, and the table that ``ovperc predict --format`` chooses from."""
