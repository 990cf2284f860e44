"""Two processes over gloo: scores equal those of one process, and training resumes as it does in one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.labelled_images import SmallImages, ThresholdSegmenter, small_bank
from helpers.segmentation_run import score_segmenter
from helpers.two_processes import in_two_processes, train_in_two_processes
from ovperc.training.checkpoint import read_run_checkpoint
from ovperc.training.train import train


def test_scores_of_two_processes_equal_those_of_one(tmp_path: Path) -> None:
    images = SmallImages(5)  # odd, so that an evened-out sampler would count one image twice

    def score(launcher: str) -> dict[str, Any]:
        outcome = score_segmenter(
            ThresholdSegmenter(), small_bank(), images, tmp_path / launcher,
            launcher=launcher, keep_worst=2, presence=1,
        )  # fmt: skip
        return {**outcome.scores, "worst": outcome.counts.worst, "done": len(outcome.present)}

    alone = score("none")
    first, second = in_two_processes(lambda: score("pytorch"))
    assert first == second == alone
    assert 0 < alone["mIoU"] < 100


def test_two_processes_resume_to_the_same_weights(tiny_run: Path, tmp_path: Path) -> None:
    overrides = {"default_hooks.checkpoint.max_keep_ckpts": -1}

    def run(name: str, resume: bool = False) -> str:
        summary = train(tiny_run, work_dir=tmp_path / name, overrides=overrides, launcher="pytorch", resume=resume)
        return str(summary.settings["processes"])

    assert train_in_two_processes(lambda: (run("whole"), run("broken"))) == [("2", "2")] * 2
    for step in (15, 20):
        (tmp_path / "broken" / f"iter_{step}.pth").unlink()
    train_in_two_processes(lambda: run("broken", resume=True))
    whole, broken = (read_run_checkpoint(tmp_path / name / "iter_20.pth") for name in ("whole", "broken"))
    assert len(whole["random_states"]) == 2
    assert all(torch.equal(value, broken["state_dict"][name]) for name, value in whole["state_dict"].items())


def test_launcher_without_torchrun_says_how_to_start(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    if torch.cuda.is_available():
        pytest.skip("on GPUs mmengine starts the processes")
    with pytest.raises(ValueError, match="torchrun --nproc-per-node"):
        train(tiny_run, work_dir=tmp_path, launcher="pytorch")
