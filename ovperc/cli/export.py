"""The ``export`` verb: a method in, a folder out that runs without torch."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

from ovperc.cli.exits import ExitCode, UsageError, complain
from ovperc.cli.options import add_method_argument, add_model_options, load_predictor

if TYPE_CHECKING:
    from ovperc.runtime.card import Card

DESCRIPTION = "Export a method as one folder that a machine without torch can ask any words."
EXAMPLES = """examples:
  ovperc export maskclip --out exports/maskclip --dynamic --check
  ovperc export sclip --out exports/sclip --size 480x640 --precision int8 --check
  ovperc export trident --out exports/trident --precision int8 --calibrate --check
  ovperc export maskclip --out exports/bins --size 480x640 --fixed-words "brick, grass, red star"
  ovperc export fvlm --out exports/fvlm --size 480x640 --check
  ovperc export patch_memory --out exports/nuts --normal photos/nuts/good --check

The folder holds model.onnx, text.onnx, the tokenizer, card.json, an example image and the expected answer.
Read it with ovperc.runtime.segmenter, which needs numpy, onnxruntime and Pillow only.
"""


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)x(\d+)", text.strip().lower())
    if not match or not int(match[1]) or not int(match[2]):
        raise argparse.ArgumentTypeError(f"a size is written HEIGHTxWIDTH in pixels, such as 480x640; got {text!r}")
    return int(match[1]), int(match[2])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the verb."""
    add_method_argument(parser)
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder to make or to replace")
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--size", type=_size, metavar="HxW", help="take images of this size only (fastest)")
    sizes.add_argument("--dynamic", action="store_true", help="take images of any size (default)")
    parser.add_argument("--fixed-words", metavar="WORDS", help="bake these words in; no text tower is written")
    parser.add_argument("--background", metavar="POLICY", help="policy of the fixed words, as for ovperc predict")
    anomaly = parser.add_argument_group("anomaly methods")
    anomaly.add_argument("--object", default="object", metavar="NAME", help="what the images show, such as 'metal nut'")
    anomaly.add_argument("--normal", type=Path, metavar="DIR", help="flawless images to remember, and for thresholds")
    anomaly.add_argument("--fpr", type=float, default=0.05, help="share of flawless images called damaged (0.05)")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "fp16", "int8"), help="of the image tower")
    parser.add_argument(
        "--calibrate",
        nargs="?",
        type=int,
        const=32,
        default=0,
        metavar="N",
        help="with int8: fix the ranges of activations on N scenes of the world (default 32)",
    )
    parser.add_argument(
        "--check",
        nargs="?",
        type=int,
        const=10,
        default=0,
        metavar="N",
        help="compare with the eager method on N scenes (default 10); exit status 1 below the stated agreement",
    )
    add_model_options(parser, method=None, compute=False)


def run(arguments: argparse.Namespace) -> int:
    """Exports; 1 if the check of what was written failed."""
    if arguments.background and not arguments.fixed_words:
        raise UsageError("--background belongs to --fixed-words; free words get their policy at run time")
    if arguments.check < 0:
        raise UsageError(f"--check needs a number of scenes; got {arguments.check}")
    try:
        card = _export(arguments)
    except ModuleNotFoundError as error:
        raise UsageError(f"{error}; install what export needs: pip install 'ovperc[export]'") from error
    return _report(card, arguments.out)


def _export(arguments: argparse.Namespace) -> Card:
    from ovperc.tasks.methods import MethodConfig, load_method

    if arguments.method is None:
        raise UsageError("name a method; ovperc info lists them")
    method = load_method(arguments.method, arguments.overrides)
    if isinstance(method, MethodConfig):
        return _export_segmentation(arguments, method.title)
    kind = type(method).__name__
    if arguments.fixed_words or arguments.calibrate:
        raise ValueError(f"{arguments.method} is exported without --fixed-words and --calibrate")
    if kind == "AnomalyMethod":
        return _export_anomaly(arguments)
    if kind == "DetectionMethod":
        return _export_detection(arguments, method.title)
    raise ValueError(f"{arguments.method} is a method of another task ({kind}), which has no exported form")


def _export_segmentation(arguments: argparse.Namespace, title: str) -> Card:
    from ovperc.export.folder import ExportPlan, export_folder

    plan = ExportPlan(
        size_hw=arguments.size,
        precision=arguments.precision,
        fixed_words=arguments.fixed_words,
        background=arguments.background,
        check_images=arguments.check,
        calibration_images=arguments.calibrate,
    )
    predictor = load_predictor(arguments)
    return export_folder(predictor, title, _licence(predictor.info.weights), plan, arguments.out)


def _export_anomaly(arguments: argparse.Namespace) -> Card:
    from ovperc.export.anomaly_folder import AnomalyPlan, export_anomaly_folder

    plan = AnomalyPlan(
        object_name=arguments.object,
        size_hw=arguments.size,
        precision=arguments.precision,
        check_images=arguments.check,
    )
    predictor = load_predictor(arguments)
    if arguments.normal is not None:
        predictor = predictor.learn_normal(arguments.normal, arguments.object, fpr=arguments.fpr)
    return export_anomaly_folder(predictor, _licence(predictor.info.weights), plan, arguments.out)


def _export_detection(arguments: argparse.Namespace, title: str) -> Card:
    from ovperc.export.detection_folder import DetectionPlan, export_detection_folder

    plan = DetectionPlan(arguments.size, arguments.precision, arguments.check)
    predictor = load_predictor(arguments)
    return export_detection_folder(predictor, title, _licence(predictor.info.weights), plan, arguments.out)


def _licence(weights: str) -> str:
    """Of weights in the catalogue; files of one's own have one that only their owner knows."""
    from ovperc.weights.catalogue import get_entry, list_weights

    return get_entry(weights).licence if weights in list_weights() else "unknown: see where the weights came from"


def _report(card: Card, out: Path) -> int:
    size = "any size" if card.profile.size_hw is None else "x".join(map(str, card.profile.size_hw))
    print(f"wrote {out}: {card.method} on {card.weights}, {card.precision}, images of {size}")
    for name in card.files:
        print(f"  {(out / name).stat().st_size / 1e6:8.2f} MB  {name}")
    if not card.parity:
        return ExitCode.DONE
    from ovperc.export.folder import parity_of

    parity = parity_of(card)
    what = {"segmentation": "labels", "anomaly": "decisions", "detection": "objects"}[card.task]
    values = "confidence" if card.task == "segmentation" else "the score"
    print(
        f"check on {parity.images} images: {what} agree {100 * parity.label_agreement:.3f} % (stated "
        f"{100 * parity.stated_agreement:g} %, worst image {100 * parity.worst_image:.3f} %), {values} differs by at "
        f"most {parity.max_confidence_error:.2g}"
    )
    if parity.miou_eager is not None:
        figures = f"{parity.miou_eager:.2f} eager, {parity.miou_exported:.2f} exported"
        print(f"  mIoU {figures}: a loss of {parity.miou_loss:.2f} points")
    print(f"  {card.latency['eager_ms']:.1f} ms eager, {card.latency['exported_ms']:.1f} ms exported")
    if parity.held:
        return ExitCode.DONE
    complain("the exported file agrees less than stated")
    return ExitCode.SOME_FAILED
