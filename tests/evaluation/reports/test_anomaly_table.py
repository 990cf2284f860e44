"""Tables of anomaly figures."""

from __future__ import annotations

from pathlib import Path

from ovperc.core.summary import RunSummary
from ovperc.evaluation.metrics.anomaly_report import CategoryCounts, CategoryScores
from ovperc.evaluation.reports.anomaly_table import category_table
from ovperc.evaluation.reports.model_table import model_table
from ovperc.evaluation.reports.results import read_results


def test_category_table_has_the_mean_of_what_is_defined_and_says_why() -> None:
    nan = float("nan")
    scores = {
        "bolt": CategoryScores({"image_AUROC": 80.0, "pixel_AUROC": nan}, CategoryCounts(3, 4), ("no masks",)),
        "nut": CategoryScores({"image_AUROC": 90.0, "pixel_AUROC": 70.0}, CategoryCounts(3, 4)),
    }
    settings = {
        "method": "winclip", "benchmark": "mvtec", "weights": "w", "images": 14, "images_in_set": 14,
        "protocol": {"size_px": 240, "shots": 2, "shot_seed": 1},
    }  # fmt: skip
    page = category_table(settings, scores)
    assert "| bolt | 80.0 | - |" in page
    assert "| **mean** | 85.0 | 70.0 |" in page
    assert "pixel metrics at 240 x 240, 2 normal images per category (seed 1)" in page
    assert page.endswith("- bolt: no masks\n")


def test_table_of_anomaly_methods_tells_shots_apart(tmp_path: Path) -> None:
    for shots in (None, 1, 4):
        summary = RunSummary(
            kind="test",
            metrics={"pixel_AUROC": 80.0 + (shots or 0), "image_AUROC": float("nan"), "AUPRO@0.3": 60.0},
            settings={
                "method": "patch_memory", "benchmark": "world-anomaly", "weights": "dino-mini", "arch": "dino-mini",
                "images": 10, "complete": True, "protocol": {"shots": shots},
            },
            seconds=1.0,
        )  # fmt: skip
        summary.write(tmp_path / f"{shots}.json")
    text = model_table(read_results([tmp_path]), "Damage")
    assert text.startswith("# Damage\n\npixel AUROC (%)")
    assert "| patch_memory, 4 shots | dino-mini | 84.0" in text
    assert "| image AUROC " not in text and "| AUPRO@0.3 " in text
    assert "mIoU" not in text
