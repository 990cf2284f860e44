"""The ``ovperc`` command; each script in ``tools/`` is one of its verbs. Torch is imported only once a verb runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence


def _add_train(verbs: argparse._SubParsersAction) -> None:
    parser = verbs.add_parser(
        "train",
        help="train a config on mmengine's Runner",
        description="Train a config on mmengine's Runner.",
        epilog="example: ovperc train clip_mini --work-dir work_dirs/clip_mini --cfg-options train_cfg.max_iters=2000",
    )
    parser.add_argument("config", metavar="CONFIG", help="a config file, or a name in configs/train")
    parser.add_argument("--resume", nargs="?", const=True, default=False, metavar="CHECKPOINT",
                        help="go on from the newest checkpoint of the work dir, or from the one named")  # fmt: skip
    parser.add_argument("--seed", type=int, help="replaces the config's")
    _add_run_options(parser)
    parser.set_defaults(run=_train)


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--work-dir", metavar="DIR", help="for logs and checkpoints (default: work_dirs/NAME)")
    parser.add_argument("--cfg-options", nargs="+", default=[], metavar="KEY=VALUE", help="overrides, such as a.b=3")
    parser.add_argument("--launcher", choices=("none", "pytorch"), default="none", help="pytorch: started by torchrun")
    parser.add_argument("--json", metavar="FILE", help="write the summary (metrics, settings, versions) here too")


def _train(arguments: argparse.Namespace) -> int:
    from ovperc.engine.train import train

    train(
        arguments.config,
        work_dir=arguments.work_dir,
        resume=arguments.resume,
        overrides=arguments.cfg_options,
        launcher=arguments.launcher,
        seed=arguments.seed,
        summary_file=arguments.json,
    )
    return 0


def build_parser() -> argparse.ArgumentParser:
    """The parser of all verbs."""
    parser = argparse.ArgumentParser(prog="ovperc", description="Name things in plain words, get masks.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for add in (_add_train,):
        add(verbs)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb and returns the exit status: 0 done, 1 failed, 2 wrong arguments."""
    arguments = build_parser().parse_args(argv)
    try:
        return arguments.run(arguments)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except (ValueError, TypeError, OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
