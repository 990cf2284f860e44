"""Makes the tiny model and dataset importable by the name that the tiny config gives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

HELPERS = Path(__file__).parents[1] / "helpers"


@pytest.fixture
def tiny_run(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Path of the tiny config, with its helpers importable here and in processes started by the test."""
    root = HELPERS.parents[1]
    monkeypatch.syspath_prepend(str(HELPERS))
    monkeypatch.setenv("PYTHONPATH", f"{root}:{HELPERS}")
    yield HELPERS / "tiny_run.py"
