"""Segmentation: which class each pixel shows."""
