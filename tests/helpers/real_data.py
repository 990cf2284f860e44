"""Real photographs for tests that measure on them; such tests are skipped where they are not at hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ovperc.data.layout import ROOT_VARIABLE


def real_data(name: str) -> Path:
    """The folder of data sets that holds ``name``: ``$OVPERC_DATA``, or ``shared/data`` beside the checkout."""
    beside = Path(__file__).resolve().parents[3] / "shared" / "data"
    root = Path(os.environ.get(ROOT_VARIABLE, beside))
    if not (root / name).is_dir():
        pytest.skip(f"needs the data set {name}: set {ROOT_VARIABLE} to a folder that holds it")
    return root
