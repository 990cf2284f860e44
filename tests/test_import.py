"""Importing the package is cheap, whole and honest about unknown names."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import ovperc


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_import_brings_in_no_library() -> None:
    heavy = ("torch", "numpy", "cv2", "mmengine", "open_clip", "timm", "mmseg", "PIL")
    loaded = json.loads(run_python("import sys, json, ovperc; print(json.dumps(list(sys.modules)))"))
    assert not set(heavy) & set(loaded)


@pytest.mark.parametrize("name", ovperc.__all__)
def test_public_names_resolve(name: str) -> None:
    assert getattr(ovperc, name) is not None
    assert name in dir(ovperc)


def test_version_matches_packaging() -> None:
    from pathlib import Path

    setup = (Path(__file__).parents[1] / "setup.py").read_text(encoding="utf-8")
    assert f'version="{ovperc.__version__}"' in setup


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'laod'.*load"):
        ovperc.laod  # noqa: B018
