"""docs/cli.md says what the parser does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ovperc.cli.exits import MEANINGS
from ovperc.cli.main import VERBS, main
from ovperc.io.writers.table import FORMATS

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("verb", VERBS.values(), ids=list(VERBS))
def test_every_verb_has_its_row(verb) -> None:
    assert f"| `ovperc {verb.name}` | {verb.help} |" in PAGE


def test_every_exit_code_has_its_row() -> None:
    rows = [line for line in PAGE.partition("## Exit codes")[2].splitlines() if line[:3] != "|--" and line[:1] == "|"]
    assert rows[1:] == [f"| {code.value} | {meaning} |" for code, meaning in MEANINGS.items()]


def test_every_format_has_its_row() -> None:
    for row in FORMATS.values():
        (line,) = (line for line in PAGE.splitlines() if line.startswith(f"| `{row.name}` |"))
        *_, tasks, default, _ = (cell.strip() for cell in line.split("|"))
        assert tasks == (" and ".join(row.tasks) or "all") and default == ("yes" if row.default else "")


def test_every_option_of_predict_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "--help"]) == 0
    options = set(re.findall(r"(?<!\S)--[a-z-]+", capsys.readouterr().out)) - {"--help", "--quiet", "--out"}
    assert {"--words", "--object", "--min-score", "--format"} <= options
    assert not [option for option in options if f"`{option}" not in PAGE]
