"""The version of ovperc."""

__version__ = "0.1.0"
