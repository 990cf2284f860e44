"""Makes the tiny model and dataset importable by the name that the tiny config gives."""

from __future__ import annotations

from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


@pytest.fixture
def tiny_run(monkeypatch: pytest.MonkeyPatch) -> Path:
    """Path of the tiny config, with its helpers importable here and in processes started by the test."""
    monkeypatch.setenv("PYTHONPATH", f"{TESTS.parent}:{TESTS}")
    return TESTS / "helpers" / "tiny_run.py"
