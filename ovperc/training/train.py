"""Training on mmengine's Runner."""

from __future__ import annotations

import copy
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.runner import Runner

from ovperc.core.config_files import find_config, parse_overrides
from ovperc.core.summary import RunSummary
from ovperc.training.checkpoint import latest_checkpoint
from ovperc.training.compat import prepare_mmengine, start_cpu_group, tune_allocator

LAUNCHERS = ("none", "pytorch")


def train(
    config: str | Path | Config,
    *,
    work_dir: str | Path | None = None,
    resume: bool | str | Path = False,
    overrides: Sequence[str] | Mapping[str, Any] | None = None,
    launcher: str = "none",
    seed: int | None = None,
    summary_file: str | Path | None = None,
) -> RunSummary:
    """Trains what a config describes.

    Args:
        config: a path, a name in ``configs/train``, or a config that is already read.
        work_dir: for logs and checkpoints; ``work_dirs/NAME`` where neither this nor the config names one.
        resume: ``True`` goes on from the newest checkpoint of the work dir, if there is one; a path goes on from it.
        overrides: ``a.b=value`` texts, or dotted key -> value.
        launcher: ``none``, or ``pytorch`` under torchrun.
        seed: replaces the config's.
        summary_file: a second place for ``summary.json``, which the work dir always gets.

    Returns:
        The summary, with the last value of every logged quantity.
    """
    started = time.perf_counter()
    tune_allocator()
    prepare_mmengine()
    settings = read_run_config(config, work_dir=work_dir, overrides=overrides, launcher=launcher, seed=seed)
    point_at_checkpoint(settings, resume)
    runner = Runner.from_cfg(settings)
    runner.train()
    summary = RunSummary(
        kind="train",
        metrics=last_values(runner),
        settings={
            "config": str(config if not isinstance(config, Config) else config.filename),
            "work_dir": runner.work_dir,
            "overrides": parse_overrides(overrides),
            "seed": runner.seed,
            "launcher": launcher,
            "processes": runner.world_size,
            "resumed_from": settings.get("load_from") if settings.get("resume") else None,
        },
        seconds=time.perf_counter() - started,
    )
    if is_main_process():
        summary.write_all(Path(runner.work_dir) / "summary.json", summary_file)
    return summary


def read_run_config(
    config: str | Path | Config,
    *,
    work_dir: str | Path | None = None,
    overrides: Sequence[str] | Mapping[str, Any] | None = None,
    launcher: str = "none",
    seed: int | None = None,
) -> Config:
    """Reads a Runner config and settles what the command line decides; arguments as for ``train``."""
    if launcher not in LAUNCHERS:
        raise ValueError(f"launcher must be one of {', '.join(LAUNCHERS)}; got {launcher!r}")
    settings = copy.deepcopy(config) if isinstance(config, Config) else Config.fromfile(find_config(config, "train"))
    settings.merge_from_dict(parse_overrides(overrides))
    if work_dir is not None:
        settings.work_dir = str(work_dir)
    elif settings.get("work_dir") is None:
        settings.work_dir = str(Path("work_dirs") / Path(settings.filename or "run").stem)
    if seed is not None:
        settings.merge_from_dict({"randomness.seed": seed})
    settings.experiment_name = run_name(settings.get("experiment_name") or Path(settings.work_dir).name)
    settings.launcher = launcher
    prepare_launcher(settings)
    return settings


def run_name(name: str) -> str:
    """A name of its own for each run: mmengine shares loggers and logged values between runs of one name and second."""
    return f"{name}_{uuid.uuid4().hex[:6]}"


def prepare_launcher(settings: Config) -> None:
    """Joins the processes of ``torchrun`` where there is no GPU; on GPUs mmengine does it."""
    import torch

    if settings.launcher == "pytorch" and not torch.cuda.is_available():
        settings.model_wrapper_cfg = start_cpu_group()


def point_at_checkpoint(settings: Config, resume: bool | str | Path) -> None:
    """Names the checkpoint to go on from; a work dir without one starts from the beginning."""
    if resume is False:
        return
    path = latest_checkpoint(settings.work_dir) if resume is True else Path(resume)
    if path is not None and not path.is_file():
        raise FileNotFoundError(f"checkpoint to resume from not found: {path}")
    settings.resume = path is not None
    settings.load_from = None if path is None else str(path)


def last_values(runner: Runner) -> dict[str, float]:
    """The last value of every scalar the run logged, such as ``train/loss``."""
    return {name: float(buffer.current()) for name, buffer in runner.message_hub.log_scalars.items()}
