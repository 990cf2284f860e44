"""Refiners: smooth score maps by the image, or redraw labels by a second look at it."""

from __future__ import annotations

from ovperc.refine.base import LabelRefiner, RefinedLabels, Refiner
from ovperc.refine.pamr import PAMR

__all__ = ["PAMR", "LabelRefiner", "RefinedLabels", "Refiner"]
