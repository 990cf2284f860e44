"""Cases of evaluation: the metric against mmseg's, what the loop adds, memory over many images, overlapped loading."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.case import Case, Measurement, Options
from benchmarks.foundation import random_bank, random_image
from benchmarks.memory import peak_memory
from ovperc.core.structures import SegmentationMap, TextBank
from ovperc.core.timing import paired_ratio

METRIC_HW = (512, 683)
METRIC_CLASSES = 150
LOOP_HW = (375, 500)
LOOP_IMAGES = 10


def block_labels(size_hw: tuple[int, int], num_classes: int, seed: int = 0, cell_px: int = 32) -> np.ndarray:
    """Blocks of random labels, ``(H, W)`` int64: label maps are not noise, and counting runs faster on regions."""
    rng = np.random.default_rng(seed)
    rows, columns = (side // cell_px + 1 for side in size_hw)
    cells = rng.integers(0, num_classes, (rows, columns))
    return np.kron(cells, np.ones((cell_px, cell_px), dtype=np.int64))[: size_hw[0], : size_hw[1]]


def metric_speed(options: Options) -> Iterator[Measurement]:
    """mmseg's IoUMetric over ours on the same label maps, 150 classes at 512x683."""
    from ovperc.training.compat import prepare_mmseg

    prepare_mmseg()
    from mmseg.evaluation import IoUMetric

    from ovperc.evaluation.metrics import SEGMENTATION_METRICS, ConfusionMatrix

    target = torch.from_numpy(block_labels(METRIC_HW, METRIC_CLASSES))
    target[:20] = 255
    wrong = torch.from_numpy(block_labels(METRIC_HW, METRIC_CLASSES, seed=1))
    prediction = torch.where(torch.rand(METRIC_HW, generator=torch.Generator().manual_seed(0)) < 0.5, target, wrong)
    prediction = prediction.clamp(max=METRIC_CLASSES - 1).to(torch.int32)

    def theirs() -> None:
        for _ in range(5):
            IoUMetric.intersect_and_union(prediction, target.to(prediction), METRIC_CLASSES, 255)

    def ours() -> None:
        matrix = ConfusionMatrix(METRIC_CLASSES)
        for _ in range(5):
            matrix.update(prediction, target)

    def all_scores() -> None:
        metrics = [kind.of(METRIC_CLASSES, 255, "skip") for kind in SEGMENTATION_METRICS]
        for _ in range(5):
            for metric in metrics:
                metric.update(prediction, target)

    setting = f"{METRIC_CLASSES} classes, {METRIC_HW[0]}x{METRIC_HW[1]}"
    ratio = paired_ratio(theirs, ours, options.runs)
    yield Measurement("metric-speed", f"mmseg IoUMetric over ours, {setting}", ratio.ratio, "x", 3.0, False, str(ratio))
    ratio = paired_ratio(theirs, all_scores, options.runs)
    text = f"the same with boundary IoU on our side, {setting}"
    yield Measurement("metric-speed", text, ratio.ratio, "x", detail=str(ratio))


@dataclass(frozen=True)
class _Item:
    image: np.ndarray
    labels: np.ndarray
    name: str


class _TimedFiles:
    """JPEG images and PNG labels that are decoded, with the CPU seconds this took."""

    def __init__(self, folder: Path, count: int, num_classes: int) -> None:
        from PIL import Image

        self.classes = tuple(f"class {index}" for index in range(num_classes))
        self.folder, self.count, self.seconds, self.started = folder, count, 0.0, 0.0
        for index in range(count):
            Image.fromarray(random_image(LOOP_HW, index)).save(folder / f"{index}.jpg", quality=90)
            labels = block_labels(LOOP_HW, num_classes, index).astype(np.uint8)
            Image.fromarray(labels).save(folder / f"{index}.png")

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> _Item:
        from ovperc.data.annotations import read_annotation
        from ovperc.io.images import read_image

        begin = time.process_time()
        self.started = self.started or begin
        item = _Item(
            read_image(self.folder / f"{index}.jpg"), read_annotation(self.folder / f"{index}.png"), str(index)
        )
        self.seconds += time.process_time() - begin
        return item


class _TimedSegmenter:
    """A segmenter with the CPU seconds it took."""

    def __init__(self, segmenter: Any) -> None:
        self.segmenter, self.seconds = segmenter, 0.0

    def _timed(self, call: Callable[..., Any], *arguments: Any) -> Any:
        begin = time.process_time()
        answer = call(*arguments)
        self.seconds += time.process_time() - begin
        return answer

    def encode(self, image: np.ndarray) -> Any:
        return self._timed(self.segmenter.encode, image)

    def segment(self, encoded: Any, bank: TextBank) -> SegmentationMap:
        return self._timed(self.segmenter.segment, encoded, bank)


def _evaluate(
    segmenter: Any,
    bank: TextBank,
    images: Any,
    folder: Path,
    *,
    presence: int = 0,
    keep_worst: int = 0,
    workers: int = 0,
) -> object:
    """Scores a segmenter on images and sums up, as a test run does."""
    from ovperc.data.segmentation.benchmark import SegmentationBenchmark
    from ovperc.evaluation.request import EvalOptions
    from ovperc.evaluation.run import score_images
    from ovperc.evaluation.segmentation import SegmentationEvaluation
    from ovperc.evaluation.store import PartStore

    row = SegmentationBenchmark("timed", "generated images", list)
    evaluation = SegmentationEvaluation(segmenter, bank, images, row, presence=presence, keep_worst=keep_worst)
    store = PartStore(folder / "progress")
    return evaluation.count(store, score_images(evaluation, store, range(len(images)), EvalOptions(workers)))


def loop_overhead(options: Options) -> Iterator[Measurement]:
    """What the evaluation loop adds to model time and image decoding, ViT-B/16, CPU seconds of one process."""
    from benchmarks.foundation import _segmenter

    inner = _segmenter("maskclip", options)
    bank = random_bank(METRIC_CLASSES, inner.clip.backbone.embed_dim, inner.clip.fingerprint).to(options.device)
    inner.segment(inner.encode(random_image(LOOP_HW)), bank)
    with tempfile.TemporaryDirectory() as folder:
        source = _TimedFiles(Path(folder), LOOP_IMAGES, METRIC_CLASSES)
        segmenter = _TimedSegmenter(inner)
        _evaluate(segmenter, bank, source, Path(folder))
        whole = time.process_time() - source.started
    needed = segmenter.seconds + source.seconds
    yield Measurement(
        "loop-overhead",
        f"evaluation loop over model and decoding, maskclip ViT-B/16, {LOOP_IMAGES} images {LOOP_HW[0]}x{LOOP_HW[1]}",
        100 * (whole - needed) / needed,
        "%",
        limit=5.0,
        detail=f"model {segmenter.seconds:.2f} s, decoding {source.seconds:.2f} s, all {whole:.2f} s: "
        f"{1000 * (whole - needed) / LOOP_IMAGES:.1f} ms added per image",
    )


class _Noise:
    """Generated label maps; nothing is kept."""

    classes = tuple(f"class {index}" for index in range(METRIC_CLASSES))

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> _Item:
        # Sizes differ, as those of photographs do.
        size = (64 + index % 32, 96 - index % 32)
        return _Item(
            np.full((*size, 3), index % 251, np.uint8), np.full(size, index % METRIC_CLASSES, np.uint8), str(index)
        )


class _Constant:
    """A segmenter that costs nothing; waits if it is told to."""

    def __init__(self, wait_s: float = 0.0) -> None:
        self.wait_s = wait_s

    def encode(self, image: np.ndarray) -> tuple[int, int]:
        time.sleep(self.wait_s)
        return image.shape[:2]

    def segment(self, encoded: tuple[int, int], bank: TextBank) -> SegmentationMap:
        return SegmentationMap(torch.zeros(encoded, dtype=torch.int32), torch.ones(encoded))


def many_images_call(count: int) -> Callable[[], object]:
    """Prepares an evaluation of ``count`` generated images; the call that is returned runs it."""
    torch.set_num_threads(1)
    bank = random_bank(METRIC_CLASSES, 8, "none")

    def call() -> object:
        with tempfile.TemporaryDirectory() as folder:
            return _evaluate(_Constant(), bank, _Noise(count), Path(folder), presence=5, keep_worst=20)

    return call


def memory_over_images(options: Options) -> Iterator[Measurement]:
    """Peak memory of an evaluation of 10,000 images less that of 500."""
    few, many = (peak_memory(many_images_call, count=count) for count in (500, 10_000))
    yield Measurement(
        "memory-over-images",
        "peak memory, 10,000 images less 500, 150 classes, presence and worst images on",
        many.peak_mib - few.peak_mib,
        "MiB",
        limit=32.0,
        detail=f"{many.peak_mib:.0f} MiB, {few.peak_mib:.0f} MiB",
    )


class _SlowNoise(_Noise):
    """Images that take a while to come, as from a disk."""

    wait_s = 0.03

    def __getitem__(self, index: int) -> _Item:
        time.sleep(self.wait_s)
        return super().__getitem__(index)


def loading_overlap(options: Options) -> Iterator[Measurement]:
    """Time of a run with two loading processes over that with none; 30 ms to load, 30 ms to segment each image."""
    bank = random_bank(METRIC_CLASSES, 8, "none")

    def run(workers: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            _evaluate(_Constant(_SlowNoise.wait_s), bank, _SlowNoise(100), Path(folder), workers=workers)

    ratio = paired_ratio(lambda: run(2), lambda: run(0), runs=min(options.runs, 3), warmup=1)
    text = "two loading processes over none, 100 images, as long to load as to segment (0.5 is all of it hidden)"
    yield Measurement("loading-overlap", text, ratio.ratio, "x", limit=0.75, detail=str(ratio))


CASES = tuple(
    Case(run.__name__.replace("_", "-"), (run.__doc__ or "").strip(), run)
    for run in (metric_speed, loop_overhead, memory_over_images, loading_overlap)
)
