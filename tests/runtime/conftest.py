"""One tiny export for all tests of the runtime: tracing costs seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.tiny_exports import tiny_predictor


@pytest.fixture(scope="session")
def predictor():
    """MaskCLIP on a tiny ViT."""
    return tiny_predictor()


@pytest.fixture(scope="session")
def folder(predictor, tmp_path_factory) -> Path:
    """Its export for any size, checked on two scenes; not to be written to."""
    from ovperc.export.folder import export_folder
    from ovperc.export.plan import ExportPlan

    out = tmp_path_factory.mktemp("exports") / "maskclip"
    export_folder(predictor, ExportPlan(check_images=2), out)
    return out


@pytest.fixture
def model(folder):
    """The folder, opened."""
    from ovperc import runtime

    return runtime.load(folder, threads=1)
