"""The ``train`` verb: a config in, checkpoints, log and summary out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from ovperc.cli.run import add_run_arguments, run_to_status

EXAMPLE = """examples:
  python tools/train.py clip_mini --work-dir work_dirs/clip_mini
  python tools/train.py configs/train/clip_mini.py --resume --cfg-options train_cfg.max_iters=500
  torchrun --nproc-per-node 2 tools/train.py clip_mini --launcher pytorch
"""


def build_parser() -> argparse.ArgumentParser:
    """The parser of the verb."""
    parser = argparse.ArgumentParser(
        prog="train",
        description="Train a config on mmengine's Runner.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("config", metavar="CONFIG", help="a config file, or a name in configs/train")
    parser.add_argument(
        "--resume",
        nargs="?",
        const=True,
        default=False,
        metavar="CHECKPOINT",
        help="go on from the newest checkpoint of the work dir, or from the one named",
    )
    parser.add_argument("--seed", type=int, metavar="N", help="replaces the config's")
    add_run_arguments(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the verb and returns the exit status."""
    arguments = build_parser().parse_args(argv)

    def work() -> None:
        from ovperc.training.train import train

        train(
            arguments.config,
            work_dir=arguments.work_dir,
            resume=arguments.resume,
            overrides=arguments.cfg_options,
            launcher=arguments.launcher,
            seed=arguments.seed,
            summary_file=arguments.json,
        )

    return run_to_status(work)


if __name__ == "__main__":
    sys.exit(main())
