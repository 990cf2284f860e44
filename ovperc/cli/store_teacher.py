"""Stores a teacher's embeddings of region proposals; see `ovperc.training.teacher_store`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ovperc.cli.exits import UsageError, run_to_exit_code
from ovperc.cli.options import Parser, add_model_options, add_quiet_option, load_predictor
from ovperc.core.progress import progress_bar

if TYPE_CHECKING:
    from ovperc.tasks.detection.predictor import DetPredictor
    from ovperc.training.teacher_store import TeacherRecord

EXAMPLE = "example: python tools/store_teacher.py data/coco/train2017 --out data/teacher --weights ViT-B-32/openai"


def run(arguments: argparse.Namespace) -> None:
    """Completes the store."""
    from ovperc.io.image_sources import list_images
    from ovperc.io.images import read_image
    from ovperc.tasks.detection.predictor import DetPredictor
    from ovperc.training.teacher_store import TeacherHeader, order_digest, write_store

    paths = list_images(arguments.images, arguments.recursive)
    names = [path.stem for path in paths]
    predictor = load_predictor(arguments)
    if not isinstance(predictor, DetPredictor):
        raise UsageError(f"{arguments.method} is not a detection method; use one such as sam_regions")
    header = TeacherHeader(
        teacher=predictor.info.weights,
        fingerprint=predictor.info.fingerprint,
        proposals=predictor.info.method,
        crop_px=arguments.crop_px or predictor.detector.clip.preprocess.image_size_px,
        contexts=tuple(arguments.contexts),
        keep=arguments.keep,
        names=order_digest(names),
        images=len(names),
        shard_size=arguments.shard_size,
    )

    def describe(row: int) -> TeacherRecord:
        return describe_image(predictor, read_image(paths[row]), header.keep, header.crop_px, header.contexts)

    with progress_bar(arguments.quiet) as bar:
        task = bar.add_task("describing", total=len(names))
        done = write_store(arguments.out, header, names, describe, lambda images: bar.advance(task, images))
    print(f"{arguments.out}: {len(names)} images, {done} added now")


def describe_image(
    predictor: DetPredictor, image, keep: int, crop_px: int, contexts: tuple[float, ...]
) -> TeacherRecord:
    """The top proposals of an image, and the dual encoder's embeddings of their crops.

    Args:
        predictor: detection predictor; its dual encoder is the teacher.
        image: ``(H, W, 3)`` uint8 RGB.
        keep: maximum number of proposals.
        crop_px: side of the crops.
        contexts: relative box sizes whose embeddings are summed.
    """
    import torch

    from ovperc.tasks.detection.nms import shared_box_nms
    from ovperc.tiling import normalize
    from ovperc.training.detector import DistillBranch, teacher_embeddings
    from ovperc.training.teacher_store import TeacherRecord

    clip, size_hw = predictor.detector.clip, image.shape[:2]
    encoded = predictor.encode(image)
    rows, _ = shared_box_nms(encoded.boxes, encoded.objectness[:, None], predictor.detector.nms_iou, keep)
    pixels = normalize(image, clip.preprocess.mean, clip.preprocess.std, clip.backbone.device)[0]
    boxes = encoded.boxes[rows]
    features = teacher_embeddings(clip, pixels, boxes, size_hw, DistillBranch(crop_px=crop_px, contexts=contexts))
    shares = boxes / boxes.new_tensor([size_hw[1], size_hw[0]]).repeat(2)
    return TeacherRecord(shares.cpu(), encoded.objectness[rows].cpu(), torch.as_tensor(features).cpu())


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    parser.add_argument("images", type=Path, metavar="FOLDER", help="training images")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="output folder; continued if it exists")
    parser.add_argument("--keep", type=int, default=300, metavar="N", help="boxes per image (default: %(default)s)")
    parser.add_argument("--crop-px", type=int, default=0, metavar="PX", help="side of crops (default: the tower's)")
    parser.add_argument(
        "--contexts", type=float, nargs="+", default=[1.0, 1.5], metavar="F", help="relative box sizes (default: 1 1.5)"
    )
    parser.add_argument("--shard-size", type=int, default=1000, metavar="N", help="images per file (default: 1000)")
    parser.add_argument("--recursive", action="store_true", help="include subfolders")
    add_quiet_option(parser)
    add_model_options(parser, method="sam_regions")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command."""
    parser = Parser(description="Store CLIP's embeddings of region proposals.", epilog=EXAMPLE)
    add_arguments(parser)
    return run_to_exit_code(lambda: run(parser.parse_args(argv)), "run the same command again to continue")
