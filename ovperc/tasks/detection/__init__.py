"""Boxes and masks with any words: detectors, their scores, and predictions."""
