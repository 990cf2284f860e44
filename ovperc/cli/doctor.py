"""The ``doctor`` verb: checks the installation and the weights, and suggests fixes.

Each check imports what it needs, so that the command also works in a broken or empty environment.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from ovperc.cli.exits import ExitCode
from ovperc.cli.requirements import INSTALL_HINT, ROOT, declared_requirements, project_name, satisfies, unmet

DESCRIPTION = "Check the installation and the available weights, and suggest fixes for what is missing."
EXAMPLES = "example: ovperc doctor --json - | python -m json.tool"
Status = Literal["ok", "note", "fault"]
MINIMUM_PYTHON = (3, 10)


@dataclass(frozen=True)
class Finding:
    """A line of the report.

    Attributes:
        section: heading of its block.
        name: what was checked.
        status: ``ok``; ``note``: absent but optional; ``fault``: ovperc cannot run.
        detail: what was found.
        fix: command or step that fixes it; empty if nothing is wrong.
    """

    section: str
    name: str
    status: Status
    detail: str
    fix: str = ""


def check_python() -> list[Finding]:
    """Python version and platform."""
    recent = sys.version_info[:2] >= MINIMUM_PYTHON
    wanted = ".".join(map(str, MINIMUM_PYTHON))
    return [
        Finding(
            "python",
            "python",
            "ok" if recent else "fault",
            f"{platform.python_version()} on {platform.platform()} ({sys.prefix})",
            "" if recent else f"install Python {wanted} or newer and recreate the environment",
        )
    ]


def check_requirements() -> list[Finding]:
    """Installed packages against ovperc's requirements."""
    core, _ = declared_requirements()
    reason = unmet("ovperc")
    findings = [
        Finding("requirements", "ovperc", "note", reason, INSTALL_HINT)
        if reason
        else Finding("requirements", "ovperc", "ok", importlib.metadata.version("ovperc"))
    ]
    for line in core:
        reason = unmet(line)
        name = project_name(line)
        findings.append(
            Finding("requirements", name, "fault", reason, f"pip install '{line}'")
            if reason
            else Finding("requirements", name, "ok", importlib.metadata.version(name))
        )
    return findings


def check_extras() -> list[Finding]:
    """Extras: complete, or what is missing from each."""
    _, extras = declared_requirements()
    here = "-e '.[{}]'" if (ROOT / "setup.py").is_file() else "'ovperc[{}]'"
    findings = []
    for extra, lines in extras.items():
        reasons = [reason for reason in map(unmet, lines) if reason]
        present = {project_name(line) for line in lines if not unmet(line)}
        versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in sorted(present))
        findings.append(
            Finding("extras", extra, "note", "; ".join(reasons), f"pip install {here.format(extra)}")
            if reasons
            else Finding("extras", extra, "ok", versions)
        )
    return findings


def check_torch() -> list[Finding]:
    """Whether torch and torchvision import and match, and which devices are available."""
    pair = "pip install --upgrade --force-reinstall torch torchvision"
    try:
        import torch
        import torchvision.ops
    except Exception as error:
        return [Finding("torch", "import", "fault", f"{type(error).__name__}: {error}", pair)]
    found = f"torch {torch.__version__} and torchvision {torchvision.__version__} import together"
    findings = [Finding("torch", "import", "ok", found)]
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        findings.append(Finding("torch", "cuda", "ok", f"CUDA {torch.version.cuda}: {', '.join(names)}"))
    else:
        built = f"torch is built for CUDA {torch.version.cuda}" if torch.version.cuda else "torch is a CPU build"
        findings.append(Finding("torch", "cuda", "note", f"no GPU found ({built}); everything runs on the CPU"))
    return [*findings, Finding("torch", "threads", "ok", str(torch.get_num_threads()))]


def check_opencv() -> list[Finding]:
    """Whether cv2 imports, encodes and decodes, and comes from a single package."""
    fix = "pip uninstall -y opencv-python opencv-python-headless && pip install opencv-python"
    findings = []
    packages = [name for name in ("opencv-python", "opencv-python-headless") if unmet(name) is None]
    if len(packages) > 1:
        findings.append(
            Finding("opencv", "packages", "note", "opencv-python and opencv-python-headless overwrite each other", fix)
        )
    try:
        import cv2
        import numpy as np

        pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
        back = cv2.imdecode(cv2.imencode(".png", pixels)[1], cv2.IMREAD_COLOR)
        if back is None or not np.array_equal(back, pixels):
            raise RuntimeError("a PNG written by cv2 does not read back unchanged")
    except ImportError as error:
        library = "apt-get install libgl1 libglib2.0-0" if ".so" in str(error) else fix
        return [*findings, Finding("opencv", "cv2", "fault", str(error), library)]
    except Exception as error:
        return [*findings, Finding("opencv", "cv2", "fault", f"{type(error).__name__}: {error}", fix)]
    return [*findings, Finding("opencv", "cv2", "ok", f"{cv2.__version__} encodes and decodes")]


_DOWNLOAD = "ovperc download "


def check_weights() -> list[Finding]:
    """ovperc's home folder, the bundled weights, and the catalogue weights available locally."""
    from ovperc.weights.caches import home
    from ovperc.weights.catalogue import CATALOGUE, local_file

    folder = home()
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    named = "OVPERC_HOME is set" if os.environ.get("OVPERC_HOME") else "default; set OVPERC_HOME to change it"
    writable = os.access(nearest, os.W_OK)
    findings = [
        Finding("weights", "folder", "ok", f"{folder} ({named})")
        if writable
        else Finding("weights", "folder", "note", f"{folder} is not writable", "export OVPERC_HOME=/a/folder/of/yours")
    ]
    for entry in CATALOGUE:
        file = local_file(entry)
        if file is not None:
            findings.append(Finding("weights", entry.name, "ok", f"{file} ({file.stat().st_size / 1e6:.1f} MB)"))
        elif entry.shipped:
            train = f"ovperc train {entry.name.replace('-', '_')}, or install ovperc again"
            findings.append(Finding("weights", entry.name, "fault", "ships with ovperc, but is missing", train))
        else:
            get = f"{_DOWNLOAD}{entry.name}"
            findings.append(Finding("weights", entry.name, "note", f"not downloaded ({entry.size_mb} MB)", get))
    return findings


CHECKS: tuple[Callable[[], list[Finding]], ...] = (
    check_python,
    check_requirements,
    check_extras,
    check_torch,
    check_opencv,
    check_weights,
)


def examine(checks: Iterable[Callable[[], list[Finding]]] = CHECKS) -> list[Finding]:
    """Runs all checks; a check that raises is reported as a fault."""
    findings: list[Finding] = []
    for check in checks:
        try:
            findings += check()
        except Exception as error:
            name = check.__name__.removeprefix("check_")
            findings.append(Finding(name, "check", "fault", f"{type(error).__name__}: {error}", INSTALL_HINT))
    return findings


def render(findings: Sequence[Finding]) -> str:
    """The report as text, one block per section, with the fix under each fault."""
    marks = {"ok": "  ok   ", "note": "  note ", "fault": "  FAULT"}
    lines: list[str] = []
    for section in dict.fromkeys(finding.section for finding in findings):
        lines.append(section)
        absent = 0
        for finding in (finding for finding in findings if finding.section == section):
            if (finding.fix or "").startswith(_DOWNLOAD):
                absent += 1
                continue
            lines.append(f"{marks[finding.status]} {finding.name:<24} {finding.detail}")
            lines += [f"           fix: {finding.fix}"] if finding.fix else []
        if absent:
            lines.append(f"{marks['note']} {'published weights':<24} {absent} not on this machine: {_DOWNLOAD}--list")
    faults = sum(finding.status == "fault" for finding in findings)
    lines.append(f"\n{faults} fault{'s' * (faults != 1)}" if faults else "\nno faults: ovperc can run here")
    return "\n".join(lines)


def as_json(findings: Sequence[Finding]) -> dict[str, Any]:
    """The report as JSON."""
    return {
        "ok": all(finding.status != "fault" for finding in findings),
        "findings": [asdict(finding) for finding in findings],
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the verb."""
    parser.add_argument("--json", metavar="FILE", help="write the report as JSON; '-' prints it instead of the text")
    parser.add_argument("--satisfies", metavar="EXTRAS", help="only check that ovperc and these extras are installed")


def run(arguments: argparse.Namespace) -> int:
    """Prints the report."""
    if arguments.satisfies is not None:
        installed = satisfies(filter(None, arguments.satisfies.split(",")))
        return ExitCode.DONE if installed else ExitCode.SOME_FAILED
    findings = examine()
    report = as_json(findings)
    if arguments.json == "-":
        print(json.dumps(report, indent=2))
    else:
        print(render(findings))
        if arguments.json:
            Path(arguments.json).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return ExitCode.DONE if report["ok"] else ExitCode.SOME_FAILED
