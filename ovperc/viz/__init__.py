"""Visualisation of results, with Pillow as the only dependency."""
