"""``ovperc info``: methods by task, and where each setting of a method comes from."""

from __future__ import annotations

import pytest

from ovperc.cli.main import main
from ovperc.tasks.methods import list_methods
from ovperc.tasks.table import TASKS


def settings(shown: str) -> dict[str, tuple[str, str]]:
    rows = [line.split() for line in shown.splitlines()[4:]]
    return {row[0]: (" ".join(row[1:-1]), row[-1]) for row in rows}


def test_every_method_is_listed_under_its_task(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    shown = capsys.readouterr().out
    for task in TASKS.values():
        block = shown.partition(f"{task.name}: {task.title}\n")[2]
        listed = [line.split()[0] for line in block.splitlines() if line.startswith("  ")]
        assert set(list_methods(task.name)) <= set(listed)


@pytest.mark.parametrize("method", list_methods())
def test_every_method_has_a_table(method: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", method]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"{method} (")
    assert {origin for _, origin in settings(shown).values()} <= {"method", "tower", "user", "default"}


def test_origins_are_method_tower_and_user(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "trident", "--set", "guide.zoom=3.0"]) == 0
    table = settings(capsys.readouterr().out)
    assert table["guide.zoom"] == ("3.0", "user")
    assert table["guide.weights"] == ("'dino-mini'", "tower")
    assert table["guide.type"] == ("'DinoGuide'", "method")
    assert main(["info", "trident", "--as-published"]) == 0
    shown = capsys.readouterr().out
    assert "as published" in shown and "tower" not in {origin for _, origin in settings(shown).values()}
    assert main(["info", "sclip", "--weights", "ViT-B-16/openai"]) == 0
    assert "tower" not in {origin for _, origin in settings(capsys.readouterr().out).values()}


def test_unknown_names_are_usage_errors(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "tridant"]) == 2
    assert "did you mean 'trident'" in capsys.readouterr().err
    assert main(["info", "sclip", "--set", "tilr.crop_px=3"]) == 2
    assert "tilr" in capsys.readouterr().err
