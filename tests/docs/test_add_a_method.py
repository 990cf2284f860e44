"""The worked example of docs/add_a_method.md runs as it stands, in fewer than 100 lines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import ovperc
from ovperc.affinity import AttentionInputs
from ovperc.registry import AFFINITIES

PAGE = Path(__file__).parents[2] / "docs" / "add_a_method.md"
BLOCK = re.compile(r'```python title="(?P<title>[^"]+)"\n(?P<code>.*?)```', re.DOTALL)


@pytest.fixture(scope="module")
def example() -> dict[str, str]:
    """File of the example -> its code."""
    return {match["title"]: match["code"] for match in BLOCK.finditer(PAGE.read_text(encoding="utf-8"))}


@pytest.fixture
def part(example: dict[str, str]) -> Iterator[type]:
    """The example's affinity, registered for one test."""
    module: dict[str, object] = {}
    exec(compile(example["ovperc/affinity/key_cosine.py"], str(PAGE), "exec"), module)
    try:
        yield module["KeyCosine"]
    finally:
        AFFINITIES.module_dict.pop("KeyCosine")


def test_part_and_config_are_short(example: dict[str, str]) -> None:
    assert sorted(example) == ["configs/methods/key_cosine.py", "ovperc/affinity/key_cosine.py"]
    assert sum(len(code.splitlines()) for code in example.values()) < 100


def test_both_forms_of_the_part_agree(part: type) -> None:
    generator = torch.Generator().manual_seed(0)
    heads = {point: torch.randn(2, 3, 1 + 12, 8, generator=generator) for point in ("k", "v")}
    inputs = AttentionInputs(heads, (3, 4), 1)
    affinity = part(temperature=5.0)
    assert torch.allclose(affinity.aggregate(inputs, inputs["v"]), affinity.weights(inputs) @ inputs["v"], atol=1e-5)


def test_config_loads_and_predicts(part: type, example: dict[str, str], tmp_path: Path) -> None:
    config = tmp_path / "key_cosine.py"
    config.write_text(example["configs/methods/key_cosine.py"], encoding="utf-8")
    predictor = ovperc.load(config, "clip-mini")
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    assert predictor.predict(image, "brick, grass").labels.shape == (48, 64)
