"""The doctor finds what is missing, names the command that mends it, and answers by exit status."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ovperc.cli import doctor, requirements
from ovperc.cli.doctor import Finding
from ovperc.cli.main import main

ROOT = Path(__file__).parents[2]


def test_requirements_are_read_from_setup_py_without_running_it(tmp_path: Path) -> None:
    (tmp_path / "setup.py").write_text('CORE = ["torch>=2"]\nEXTRAS = {"x": ["y"]}\nraise SystemExit(9)\n')
    assert requirements.declared_requirements(tmp_path) == (["torch>=2"], {"x": ["y"]})


def test_requirements_outside_a_checkout_name_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise requirements.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(requirements.importlib.metadata, "metadata", absent)
    with pytest.raises(ValueError, match="pip install -e"):
        requirements.declared_requirements(tmp_path)


@pytest.mark.parametrize(
    ("requirement", "reason"),
    [
        ("pytest", None),
        ("pytest>=1", None),
        ("pytest>=999", "pytest>=999 is required"),
        ("no-such-package-of-ours>=1", "no-such-package-of-ours>=1 is not installed"),
    ],
)
def test_unmet(requirement: str, reason: str | None) -> None:
    answer = requirements.unmet(requirement)
    assert answer is None if reason is None else reason in answer


def test_missing_requirement_is_a_fault_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        doctor, "declared_requirements", lambda: (["pytest", "absent-thing>=3"], {"web": ["other-thing"]})
    )
    by_name = {finding.name: finding for finding in [*doctor.check_requirements(), *doctor.check_extras()]}
    assert by_name["pytest"].status == "ok"
    assert by_name["absent-thing"].status == "fault"
    assert by_name["absent-thing"].fix == "pip install 'absent-thing>=3'"
    assert by_name["web"].status == "note"
    assert "[web]" in by_name["web"].fix


def test_a_check_that_crashes_does_not_stop_the_others() -> None:
    def check_broken() -> list[Finding]:
        raise OSError("no such library")

    findings = doctor.examine([check_broken, doctor.check_python])
    assert [(finding.section, finding.status) for finding in findings] == [("broken", "fault"), ("python", "ok")]
    assert "no such library" in doctor.render(findings)
    assert not doctor.as_json(findings)["ok"]


def test_weights_say_where_they_are_or_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVPERC_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "ViT-B-16.pt").write_bytes(bytes(1000))
    by_name = {finding.name: finding for finding in doctor.check_weights()}
    assert str(tmp_path) in by_name["folder"].detail
    assert by_name["ViT-B-16/openai"].status == "ok"
    assert str(tmp_path / "weights" / "ViT-B-16.pt") in by_name["ViT-B-16/openai"].detail
    assert by_name["RN50/openai"].status == "note"
    assert by_name["RN50/openai"].fix == "ovperc download RN50/openai"
    report = doctor.render(list(by_name.values()))
    assert "ViT-B-16/openai" in report and "RN50/openai" not in report, "one line stands for all that can be fetched"
    assert "not on this machine: ovperc download --list" in report


def test_shipped_weights_that_are_missing_are_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ovperc.weights.catalogue._ASSETS", tmp_path)
    monkeypatch.setenv("OVPERC_HOME", str(tmp_path))
    assert {finding.name: finding.status for finding in doctor.check_weights()}["clip-mini"] == "fault"


def test_environment_of_another_checkout_does_not_satisfy(tmp_path: Path) -> None:
    (tmp_path / "setup.py").write_text("CORE = []\nEXTRAS = {}\n")
    assert not requirements.satisfies([], tmp_path)


def test_exit_status_follows_faults(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(doctor, "examine", lambda: [Finding("a", "b", "note", "absent")])
    assert main(["doctor"]) == 0
    monkeypatch.setattr(doctor, "examine", lambda: [Finding("a", "b", "fault", "absent", "fix it")])
    assert main(["doctor"]) == 1
    assert "fix: fix it" in capsys.readouterr().out


def test_tool_prints_json_from_any_directory(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "tools" / "doctor.py"), "--json", "-"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    report = json.loads(done.stdout)
    assert done.returncode == (0 if report["ok"] else 1)
    assert {"python", "requirements", "extras", "torch", "opencv", "weights"} <= {
        finding["section"] for finding in report["findings"]
    }


def test_help_needs_no_torch() -> None:
    code = """
import sys
from ovperc.cli import doctor
from ovperc.cli import requirements
from ovperc.cli.main import main
main(["doctor", "--help"])
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=ROOT)
