"""The ``export`` verb: exports a method to a folder that runs without torch."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

from ovperc.cli.exits import ExitCode, UsageError, complain
from ovperc.cli.options import add_method_argument, add_model_options, load_predictor

if TYPE_CHECKING:
    from ovperc.runtime.manifest import Manifest

DESCRIPTION = "Export a method to a folder that runs without torch, with any vocabulary."
EXAMPLES = """examples:
  ovperc export maskclip --out exports/maskclip --dynamic --check
  ovperc export sclip --out exports/sclip --size 480x640 --precision int8 --check
  ovperc export trident --out exports/trident --precision int8 --calibrate --check
  ovperc export maskclip --out exports/bins --size 480x640 --fixed-words "brick, grass, red star"
  ovperc export fvlm --out exports/fvlm --size 480x640 --check
  ovperc export patch_memory --out exports/nuts --normal photos/nuts/good --check

The folder holds model.onnx, text.onnx, the tokenizer, manifest.json, an example image and its expected prediction.
Load it with ovperc.runtime.load, which only needs numpy, onnxruntime and Pillow.
"""


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)x(\d+)", text.strip().lower())
    if not match or not int(match[1]) or not int(match[2]):
        raise argparse.ArgumentTypeError(f"a size must be HEIGHTxWIDTH in pixels, such as 480x640; got {text!r}")
    return int(match[1]), int(match[2])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the verb."""
    add_method_argument(parser)
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="output folder, created or replaced")
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--size", type=_size, metavar="HxW", help="accept images of this size only (fastest)")
    sizes.add_argument("--dynamic", action="store_true", help="accept images of any size (default)")
    parser.add_argument("--fixed-words", metavar="WORDS", help="bake in this vocabulary; no text tower is written")
    parser.add_argument("--background", metavar="POLICY", help="background of --fixed-words, as for ovperc predict")
    anomaly = parser.add_argument_group("anomaly methods")
    anomaly.add_argument("--object", metavar="NAME", help="name of the inspected object, such as 'metal nut'")
    anomaly.add_argument("--normal", type=Path, metavar="DIR", help="normal images for few-shot methods and thresholds")
    anomaly.add_argument("--fpr", type=float, default=0.05, help="accepted false-positive rate on normal images (0.05)")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "fp16", "int8"), help="of the image tower")
    parser.add_argument(
        "--calibrate",
        nargs="?",
        type=int,
        const=32,
        default=0,
        metavar="N",
        help="with int8: calibrate activation ranges on N generated images (default 32)",
    )
    parser.add_argument(
        "--check",
        nargs="?",
        type=int,
        const=10,
        default=0,
        metavar="N",
        help="compare with the PyTorch model on N images (default 10); exit status 1 below the required agreement",
    )
    add_model_options(parser, method=None, compute=False)


def run(arguments: argparse.Namespace) -> int:
    """Exports a method; returns 1 if the check of the exported folder failed."""
    if arguments.method is None:
        raise UsageError("name a method; ovperc info lists them")
    try:
        manifest = _export(arguments)
    except ModuleNotFoundError as error:
        raise UsageError(f"{error}; install the export dependencies: pip install 'ovperc[export]'") from error
    return _report(manifest, arguments.out.expanduser())


def _export(arguments: argparse.Namespace) -> Manifest:
    from ovperc.export.folder import export_folder
    from ovperc.export.plan import ExportPlan

    plan = ExportPlan(
        size_hw=arguments.size,
        precision=arguments.precision,
        calibration_images=arguments.calibrate,
        check_images=arguments.check,
        fixed_words=arguments.fixed_words,
        background=arguments.background,
        object_name=arguments.object,
    )
    predictor = load_predictor(arguments)
    if arguments.normal is not None:
        if not hasattr(predictor, "learn_normal"):
            raise UsageError(f"--normal belongs to anomaly methods; {arguments.method} is none")
        names = {} if arguments.object is None else {"object_name": arguments.object}
        predictor = predictor.learn_normal(arguments.normal, **names, fpr=arguments.fpr)
    return export_folder(predictor, plan, arguments.out)


def _report(manifest: Manifest, out: Path) -> int:
    size_hw = manifest.input_spec.size_hw
    size = "any size" if size_hw is None else "x".join(map(str, size_hw))
    print(f"wrote {out}: {manifest.method} on {manifest.weights}, {manifest.precision}, images of {size}")
    for name in manifest.files:
        print(f"  {(out / name).stat().st_size / 1e6:8.2f} MB  {name}")
    if not manifest.parity:
        return ExitCode.DONE
    from ovperc.export.parity import Parity

    parity = Parity.from_dict(manifest.parity)
    compared = {"segmentation": "labels", "anomaly": "pixels", "detection": "objects"}[manifest.task]
    values = "confidence" if manifest.task == "segmentation" else "the score"
    print(
        f"check on {parity.images} images: {compared} agree {100 * parity.label_agreement:.3f} % (stated "
        f"{100 * parity.stated_agreement:g} %, worst image {100 * parity.worst_image:.3f} %), {values} differs by at "
        f"most {parity.max_confidence_error:.2g}"
    )
    if parity.miou_eager is not None:
        figures = f"{parity.miou_eager:.2f} eager, {parity.miou_exported:.2f} exported"
        print(f"  mIoU {figures}: a loss of {parity.miou_loss:.2f} points")
    print(f"  {manifest.latency['eager_ms']:.1f} ms eager, {manifest.latency['exported_ms']:.1f} ms exported")
    if parity.held:
        return ExitCode.DONE
    complain("the exported model does not reach the required agreement")
    return ExitCode.SOME_FAILED
