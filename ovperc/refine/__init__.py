"""Refiners: smooth score maps at image size, guided by the image."""

from __future__ import annotations

from ovperc.refine.base import Refiner
from ovperc.refine.pamr import PAMR

__all__ = ["PAMR", "Refiner"]
