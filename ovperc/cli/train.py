"""The ``train`` verb: trains a config, writing checkpoints, a log and a summary."""

from __future__ import annotations

import argparse

from ovperc.cli.options import add_overrides, add_run_options

DESCRIPTION = "Train a config with mmengine's Runner."
EXAMPLES = """examples:
  ovperc train clip_mini --work-dir work_dirs/clip_mini
  ovperc train configs/train/clip_mini.py --resume --set train_cfg.max_iters=500
  torchrun --nproc-per-node 2 -m ovperc train clip_mini --launcher pytorch
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the verb."""
    parser.add_argument("config", metavar="CONFIG", help="config file, or a name in configs/train")
    parser.add_argument(
        "--resume",
        nargs="?",
        const=True,
        default=False,
        metavar="CHECKPOINT",
        help="resume from the latest checkpoint in the work dir, or from the given one",
    )
    parser.add_argument("--seed", type=int, metavar="N", help="replaces the config's")
    add_overrides(parser)
    add_run_options(parser)


def run(arguments: argparse.Namespace) -> None:
    """Trains."""
    from ovperc.training.train import train

    train(
        arguments.config,
        work_dir=arguments.work_dir,
        resume=arguments.resume,
        overrides=arguments.overrides,
        launcher=arguments.launcher,
        seed=arguments.seed,
        summary_file=arguments.json,
    )
