"""How far an exported folder is from the method it was made of: labels, confidence, mIoU on the world, time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from ovperc.metrics.miou import ConfusionMatrix

if TYPE_CHECKING:
    from ovperc.export.runtime import ExportedSegmenter
    from ovperc.structures import TextBank
    from ovperc.tasks.segmentation import DenseSegmenter

STATED_AGREEMENT: dict[str, float] = {"fp32": 0.999, "fp16": 0.995, "int8": 0.97}
BENCHMARK = "world-base"
_IGNORED = 255
# Heights and widths in units of a scene's side: a square, lying, standing, small and large.
_SHAPES = ((1.0, 1.0), (0.7, 1.0), (1.0, 0.75), (0.5, 0.5), (1.4, 1.7))


@dataclass(frozen=True)
class CheckImage:
    """An image of the world with its true labels, ``(H, W, 3)`` uint8 and ``(H, W)`` uint8 (255 is ignored)."""

    image: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Parity:
    """Figures of a comparison.

    Attributes:
        images: compared.
        label_agreement: share of equal labels.
        worst_image: smallest share of one image.
        max_confidence_error, mean_confidence_error: absolute difference of the confidence.
        miou_eager, miou_exported: of both against the truth, percent; ``None`` where the words are not the world's.
        stated_agreement: what the precision promises.
    """

    images: int
    label_agreement: float
    worst_image: float
    max_confidence_error: float
    mean_confidence_error: float
    miou_eager: float | None
    miou_exported: float | None
    stated_agreement: float

    @property
    def held(self) -> bool:
        """Whether the agreement is at least the stated one."""
        return self.label_agreement >= self.stated_agreement

    def as_dict(self) -> dict[str, Any]:
        """For the card."""
        figures = {name: value if value is None else round(value, 6) for name, value in asdict(self).items()}
        return figures | {"benchmark": BENCHMARK}


def check_images(
    count: int, size_hw: tuple[int, int] | None = None, side_px: int = 224
) -> tuple[list[CheckImage], tuple[str, ...]]:
    """Scenes of the world and their class names.

    Args:
        count: number of scenes.
        size_hw: all of this size; ``None`` for several sizes and aspects.
        side_px: side of a scene before it is brought to its size.
    """
    from ovperc.data.world.benchmark import build_benchmark

    scenes = build_benchmark(BENCHMARK, num_scenes=count, size_px=side_px, seed=7)
    images = []
    for index in range(count):
        sample = scenes[index]
        factors = _SHAPES[index % len(_SHAPES)]
        height, width = size_hw or (round(side_px * factors[0]), round(side_px * factors[1]))
        image = cv2.resize(sample.image, (width, height), interpolation=cv2.INTER_AREA)
        labels = cv2.resize(sample.labels, (width, height), interpolation=cv2.INTER_NEAREST)
        images.append(CheckImage(image, labels))
    return images, scenes.classes


def compare(
    segmenter: DenseSegmenter,
    exported: ExportedSegmenter,
    bank: TextBank,
    images: Sequence[CheckImage],
    precision: str,
    scored: bool = True,
) -> Parity:
    """Runs both on the same images and words.

    Args:
        segmenter: eager, float32.
        exported: the folder; words are set unless they are fixed.
        bank: the words.
        images: see :func:`check_images`.
        precision: of the export; decides the stated agreement.
        scored: whether the labels of ``bank`` are those of the images, so that mIoU says something.
    """
    if exported.card.fixed is None:
        exported.use_bank(bank)
    matrices = [ConfusionMatrix(bank.num_classes, _IGNORED) for _ in range(2)] if scored else []
    shares, errors = [], []
    for entry in images:
        eager = segmenter.segment(segmenter.encode(entry.image), bank)
        labels, confidence = eager.labels.cpu().numpy(), eager.confidence.cpu().numpy()
        answer = exported.predict(entry.image)
        shares.append((labels == answer.labels).mean())
        errors.append(np.abs(confidence - answer.confidence))
        for matrix, predicted in zip(matrices, (labels, answer.labels.astype(np.int64)), strict=False):
            matrix.update(predicted, entry.labels)
    ious = [matrix.scores()["mIoU"] for matrix in matrices] or [None, None]
    pixels = [error.size for error in errors]
    return Parity(
        images=len(images),
        label_agreement=float(np.average(shares, weights=pixels)),
        worst_image=float(min(shares)),
        max_confidence_error=float(max(error.max() for error in errors)),
        mean_confidence_error=float(np.average([error.mean() for error in errors], weights=pixels)),
        miou_eager=ious[0],
        miou_exported=ious[1],
        stated_agreement=STATED_AGREEMENT[precision],
    )


def median_seconds(call: Callable[[], object], runs: int = 5) -> float:
    """Median time of a call after one that does not count."""
    call()
    times = []
    for _ in range(runs):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return float(np.median(times))
