"""What alignment is for: clip-mini-clim names given regions better than clip-mini, held-out pairs above all."""

from __future__ import annotations

from pathlib import Path

from ovperc.evaluation.run import evaluate

SCENES = ("data.num_scenes=40", "data.seed=3")


def test_alignment_raises_the_accuracy_of_regions(tmp_path: Path) -> None:
    before, after = (
        evaluate("maskclip", "world-regions", weights=weights, overrides=SCENES, work_dir=tmp_path / weights).metrics
        for weights in ("clip-mini", "clip-mini-clim")
    )
    for view in ("box", "mask"):
        assert after[f"mAcc1.{view}.novel"] > before[f"mAcc1.{view}.novel"] + 10
        assert after[f"mAcc1.{view}.base"] > before[f"mAcc1.{view}.base"]
        assert after[f"mAcc1.{view}.stuff"] > before[f"mAcc1.{view}.stuff"] - 2
