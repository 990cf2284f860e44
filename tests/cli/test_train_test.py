"""The command line: help without torch, errors as one line, scores as a table."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ovperc.cli.main import VERBS, main

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("arguments", [["--help"], *([verb, "--help"] for verb in VERBS)])
def test_help_does_not_import_torch(arguments: list[str]) -> None:
    code = f"""
import sys
from ovperc.cli.main import main
status = main({arguments!r})
assert not status and not {{"torch", "numpy", "mmengine"}} & set(sys.modules), "torch was imported"
"""
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert answer.returncode == 0, answer.stderr
    assert "usage" in answer.stdout


@pytest.mark.parametrize("tool", ["train.py", "test.py"])
def test_tools_are_the_verbs(tool: str) -> None:
    answer = subprocess.run([sys.executable, str(ROOT / "tools" / tool), "--help"], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    assert "--cfg-options" in answer.stdout and "examples:" in answer.stdout


def test_unknown_verb_gets_a_near_match(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tain"]) == 2
    assert "did you mean 'train'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "clip_minni"], "did you mean 'clip_mini'"),
        (["train", "gone/config.py"], "config file not found"),
        (["test", "sclip", "--benchmark", "world-nowel"], "did you mean 'world-novel'"),
        (["test", "--method", "nakclip", "--limit", "1"], "naclip"),
    ],
)
def test_errors_are_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    answer = capsys.readouterr().err
    assert message in answer and answer.startswith("error: ") and answer.count("\n") == 1


def test_scores_are_printed_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OVPERC_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    options = ["--weights", "random", "--arch", "clip-mini", "--limit", "2", "--json", "out/scores.json"]
    assert main(["test", "maskclip", "--benchmark", "world-materials", *options]) == 0
    printed = capsys.readouterr().out
    assert "maskclip on world-materials, 2 images" in printed and "mIoU" in printed
    scores = json.loads(Path("out/scores.json").read_text())["metrics"]
    assert f"{scores['aAcc']:.2f}" in printed
    assert Path("work_dirs/maskclip_world-materials/summary.json").is_file()


def test_list_shows_the_benchmarks(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", "--list"]) == 0
    assert "world-novel" in capsys.readouterr().out
