"""``ovperc benchmark`` runs the cases of a checkout, and says where they are when there is none."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from benchmarks.case import Case, Measurement
from ovperc.cli import benchmark
from ovperc.cli.exits import UsageError
from ovperc.cli.main import main

ROWS = [Measurement("double", "two over one", 2.0, "x", limit=2.5), Measurement("double", "memory", 7.0, "MB")]


@pytest.fixture
def cases(monkeypatch: pytest.MonkeyPatch) -> None:
    late = [*ROWS, Measurement("late", "three over one", 3.0, "x", limit=2.5)]
    made = {"double": Case("double", "a double", lambda _: ROWS), "late": Case("late", "too slow", lambda _: late)}
    monkeypatch.setattr(benchmark, "find_cases", lambda: made)


def test_a_folder_without_cases_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="benchmarks need a source checkout"):
        benchmark.find_cases(tmp_path)


def test_cases_of_the_checkout_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", "--list"]) == 0
    assert "tower-ratio" in capsys.readouterr().out
    assert main(["benchmark", "tower-ration"]) == 2
    assert "did you mean 'tower-ratio'" in capsys.readouterr().err


def test_a_missed_limit_is_exit_code_1(cases: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", "double", "--csv", str(tmp_path / "figures.csv")]) == 0
    with (tmp_path / "figures.csv").open(newline="") as file:
        assert [row["value"] for row in csv.DictReader(file)] == ["2.0", "7.0"]
    assert main(["benchmark"]) == 1
    assert "missed" in capsys.readouterr().out
