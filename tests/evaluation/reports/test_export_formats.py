"""The table of methods and formats: what is exported for a column, and what a row says."""

from __future__ import annotations

import pytest

from ovperc.export.formats_table import FORMATS, Row, export_table, measure, plan_of
from ovperc.runtime.input_spec import InputSpec
from ovperc.runtime.manifest import Manifest

PARITY = {
    "images": 2,
    "label_agreement": 0.9991,
    "worst_image": 0.99,
    "stated_agreement": 0.97,
    "miou_exported": 39.5,
    "miou_loss": 0.25,
}


def _manifest() -> Manifest:
    return Manifest(
        method="sclip",
        task="segmentation",
        title="",
        weights="clip-mini",
        arch="clip-mini",
        licence="Apache-2.0",
        fingerprint="f",
        embed_dim=4,
        logit_scale=40.0,
        precision="int8",
        input_spec=InputSpec(),
        preprocess={},
        templates=("{}",),
        mass_nouns=(),
        context_length=77,
        example_words=("grass",),
        version="0",
        parity=PARITY,
        latency={"exported_ms": 30.0, "eager_ms": 60.0, "of_eager": 0.5, "size_hw": [224, 224], "words": 46, "cpus": 2},
    )


def test_a_row_holds_agreement_loss_and_share_of_time() -> None:
    table = export_table([Row("sclip", "int8", _manifest(), 3.14159)])
    row = [cell.strip() for cell in table.splitlines()[-1].strip("|").split("|")]
    assert row == ["sclip", "int8", "3.1", "99.910 %", "99.00 %", "97 %", "39.50", "+0.25", "30", "0.50 x"]


def test_plans_of_all_formats() -> None:
    plans = {form: plan_of(form, 3) for form in FORMATS}
    assert all(plan.check_images == 3 for plan in plans.values())
    assert plans["int8-calibrated"].precision == "int8" and plans["int8-calibrated"].calibration_images
    assert plans["int8"].calibration_images == 0
    with pytest.raises(ValueError, match="did you mean 'int8'"):
        plan_of("int-8", 3)


def test_folders_that_are_there_are_not_made_again(tmp_path, capsys) -> None:
    folder = tmp_path / "sclip-int8"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"x" * 2_000_000)
    _manifest().write(folder)
    rows = measure(["sclip"], ["int8"], 2, tmp_path)
    assert rows[0].megabytes == 2.0 and rows[0].manifest.parity["worst_image"] == 0.99
    assert "99.910 %" in capsys.readouterr().out
