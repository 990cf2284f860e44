"""The task table: places that exist, names by their beginning, methods and benchmarks of one task."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from ovperc.cli.main import main
from ovperc.data.benchmarks import BENCHMARKS
from ovperc.evaluation.run import evaluate
from ovperc.tasks.methods import list_methods, load_method
from ovperc.tasks.table import TASKS, get_task, task_of


def test_a_task_is_found_by_its_beginning():
    assert get_task("segment") is TASKS["segmentation"]
    assert get_task("detect") is TASKS["detection"]
    for wrong in ("", "segmentations", "photo"):
        with pytest.raises(ValueError, match="unknown task"):
            get_task(wrong)


def test_segmentation_is_what_a_config_without_task_is_for():
    assert task_of(load_method("maskclip")) is TASKS["segmentation"]
    assert "maskclip" in list_methods("segmentation")
    with pytest.raises(TypeError, match="method config"):
        task_of({"readout": {}})


def test_methods_are_listed_by_task():
    by_task = [list_methods(task) for task in TASKS]
    assert sorted(name for names in by_task for name in names) == sorted(list_methods())


def test_an_unknown_task_is_refused(tmp_path: Path):
    config = tmp_path / "mine.py"
    config.write_text('method = dict(task="captioning")\n', encoding="utf-8")
    with pytest.raises(ValueError, match="unknown task 'captioning'"):
        load_method(config)


def test_every_benchmark_has_a_task():
    assert {row.task for row in BENCHMARKS.values()} <= set(TASKS)


def test_a_method_is_not_scored_on_another_tasks_benchmark(monkeypatch: pytest.MonkeyPatch):
    row = dataclasses.replace(BENCHMARKS["world-base"], task="detection")
    monkeypatch.setattr("ovperc.evaluation.run.get_benchmark", lambda name: row)
    with pytest.raises(ValueError, match="is for segmentation, benchmark 'world-base' for detection"):
        evaluate("maskclip", "world-base")


def test_a_task_on_the_command_line_is_a_usage_error(capsys: pytest.CaptureFixture[str]):
    assert main(["predict", "photo.jpg", "--out", "out", "--task", "detection"]) == 2
    assert "--task is not needed" in capsys.readouterr().err
