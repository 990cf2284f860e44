"""Recorded commands can be typed again on another machine."""

from __future__ import annotations

import pytest

from ovperc.core.command_line import command_line


@pytest.mark.parametrize(
    ("script", "alone", "together"),
    [
        ("/home/x/.venv/bin/ovperc", "ovperc", "torchrun --nproc-per-node 2 -m ovperc"),
        ("/home/x/ovperc/ovperc/__main__.py", "ovperc", "torchrun --nproc-per-node 2 -m ovperc"),
        ("/home/x/ovperc/tools/train.py", "python tools/train.py", "torchrun --nproc-per-node 2 tools/train.py"),
        ("tools/train.py", "python tools/train.py", "torchrun --nproc-per-node 2 tools/train.py"),
        ("/usr/bin/pytest", "pytest", "torchrun --nproc-per-node 2 pytest"),
    ],
)
def test_scripts_and_launchers(script: str, alone: str, together: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert " ".join(command_line([script, "test", "--limit", "2"])) == f"{alone} test --limit 2"
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert " ".join(command_line([script, "test", "--limit", "2"])) == f"{together} test --limit 2"
