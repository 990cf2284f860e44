"""What goes wrong with weights: files that are not here, and files that cannot be used."""

from __future__ import annotations

import struct
import zipfile
import zlib

from safetensors import SafetensorError


class MissingWeightsError(FileNotFoundError):
    """Weights are not on this machine; says which file, where from, and where to put it."""


class CheckpointError(ValueError):
    """A file that is no usable checkpoint, or not one for the model at hand."""


READ_ERRORS = (
    EOFError,
    OSError,
    RuntimeError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    ImportError,
    MemoryError,
    struct.error,
    zlib.error,
    SafetensorError,
    zipfile.BadZipFile,
)
"""What readers of damaged files raise: their unpicklers trust what they read."""
