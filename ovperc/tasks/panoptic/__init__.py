"""Panoptic segmentation: every pixel belongs to an instance of a thing or to a stuff class."""
