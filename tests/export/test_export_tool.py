"""The export verb's arguments, and folders written whole or not at all."""

from __future__ import annotations

import subprocess
import sys

import pytest

from helpers.tiny_exports import tiny_predictor
from ovperc.cli.main import main
from ovperc.export.folder import ExportPlan, export_folder
from ovperc.export.graph import ExportError


def test_help_needs_no_torch() -> None:
    code = "import sys; sys.modules['torch'] = None; from ovperc.cli.main import main; main(['export', '--help'])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0 and "--precision" in run.stdout


@pytest.mark.parametrize("size", ["480", "0x640", "480x", "axb"])
def test_sizes_are_heights_by_widths(size: str, capsys) -> None:
    assert main(["export", "maskclip", "--out", "x", "--size", size]) == 2
    assert "HEIGHTxWIDTH" in capsys.readouterr().err


def test_unknown_method_and_misplaced_policy(tmp_path, capsys) -> None:
    assert main(["export", "maskclipp", "--out", str(tmp_path / "out")]) == 2
    assert "maskclip" in capsys.readouterr().err
    assert main(["export", "maskclip", "--out", "x", "--background", "0.3"]) == 2
    assert "--fixed-words" in capsys.readouterr().err


@pytest.mark.parametrize(
    "fields",
    [
        {"precision": "int4"},
        {"calibration_images": 3},
        {"precision": "int8", "calibration_images": -1},
        {"size_hw": (0, 8)},
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
        export_folder(predictor, "", "", ExportPlan(), tmp_path / "out")
    predictor = tiny_predictor()
    with pytest.raises(FileExistsError, match="no exported folder"):
        export_folder(predictor, "", "", ExportPlan(), tmp_path / "mine")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert (tmp_path / "mine" / "thesis.txt").exists()
