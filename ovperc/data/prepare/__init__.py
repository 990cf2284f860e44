"""Checks downloads, and converts those that need it."""

from ovperc.data.prepare.ade847 import Ade847
from ovperc.data.prepare.coco_object import CocoObject
from ovperc.data.prepare.context import Context, Pc459
from ovperc.data.prepare.conversion import Conversion, ConversionError, conversion_state, run_conversion

CONVERSIONS = {kind.name: kind for kind in (Ade847, CocoObject, Context, Pc459)}

__all__ = [
    "CONVERSIONS",
    "Ade847",
    "CocoObject",
    "Context",
    "Conversion",
    "ConversionError",
    "Pc459",
    "conversion_state",
    "run_conversion",
]
