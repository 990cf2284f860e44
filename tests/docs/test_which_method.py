"""The configs that docs/how_to/which_method.md shows load and predict."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import ovperc
from helpers.pictures import blobs

PAGE = Path(__file__).parents[2] / "docs" / "how_to" / "which_method.md"
CONFIGS = re.findall(r"```python\n(method = .*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("config", CONFIGS)
def test_own_methods_run_on_the_shipped_weights(config: str, tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(f'"""A method of one\'s own."""\n\n{config}', encoding="utf-8")
    assert ovperc.load(file, "clip-mini").predict(blobs((48, 64)), "brick, grass").labels.shape == (48, 64)


def test_the_page_shows_a_config() -> None:
    assert CONFIGS
