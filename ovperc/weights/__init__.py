"""Weights: the catalogue, where files are found, how they are read, and which layouts they come in."""
