"""Photographs and words that photo-mini is trained on."""
