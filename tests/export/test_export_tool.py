"""The export verb's arguments, and folders written whole or not at all."""

from __future__ import annotations

import subprocess
import sys

import pytest

from helpers.tiny_exports import tiny_predictor
from ovperc.cli.main import main
from ovperc.export.folder import export_folder
from ovperc.export.parts import ExportError
from ovperc.export.plan import ExportPlan


def test_help_needs_no_torch() -> None:
    code = "import sys; sys.modules['torch'] = None; from ovperc.cli.main import main; main(['export', '--help'])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0 and "--precision" in run.stdout


@pytest.mark.parametrize("size", ["480", "0x640", "480x", "axb"])
def test_sizes_are_heights_by_widths(size: str, capsys) -> None:
    assert main(["export", "maskclip", "--out", "x", "--size", size]) == 2
    assert "HEIGHTxWIDTH" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["maskclipp"], "maskclip"),
        (["maskclip", "--background", "0.3"], "--fixed-words"),
        (["maskclip", "--object", "nut"], "takes no object_name"),
        (["maskclip", "--normal", "."], "anomaly methods"),
        (["clip_baseline", "--fixed-words", "nut"], "takes no fixed_words"),
        (["fvlm"], "--size"),
    ],
)
def test_arguments_of_another_task_are_usage_errors(arguments, message: str, tmp_path, capsys) -> None:
    assert main(["export", *arguments, "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "fields",
    [
        {"precision": "int4"},
        {"calibration_images": 3},
        {"precision": "int8", "calibration_images": -1},
        {"size_hw": (0, 8)},
        {"check_images": -1},
        {"background": 0.3},
        {"object_name": " "},
    ],
)
def test_plans_that_cannot_be_met(fields) -> None:
    with pytest.raises(ValueError):
        ExportPlan(**fields)


def test_a_failed_export_leaves_what_was_there(tmp_path) -> None:
    """Another folder is not replaced, and nothing of a failed export stays."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    predictor = tiny_predictor("naclip_pamr")
    with pytest.raises(ExportError, match="PAMR"):
        export_folder(predictor, ExportPlan(), tmp_path / "out")
    predictor = tiny_predictor()
    with pytest.raises(FileExistsError, match="no exported folder"):
        export_folder(predictor, ExportPlan(), tmp_path / "mine")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert (tmp_path / "mine" / "thesis.txt").exists()
