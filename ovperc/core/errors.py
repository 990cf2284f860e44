"""Errors that several rooms raise."""

from __future__ import annotations


class DataError(ValueError):
    """A file of a data set cannot be used; the message names it. The arguments of the run are right."""


class ImageError(ValueError):
    """An image that cannot be read or understood; the message names it and the cause."""
