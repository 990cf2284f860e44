"""Cases of the export: agreement and time against eager torch, start, memory and the cost of new words."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from benchmarks.case import Case, Measurement, Options
from benchmarks.foundation import ARCH, IMAGE_HW, random_bank, random_image
from ovperc.core.timing import paired_ratio

_SCENES = 20
_WORDS = "red object, blue object, grass, brick, sand, water"
_NEW_WORDS = tuple(f"word {index}" for index in range(20))
_FIRST_MASK = """
import sys, time
begin = time.perf_counter()
import numpy as np
from ovperc import runtime
model = runtime.load(sys.argv[1], threads=int(sys.argv[4]) or None)
model.set_words({words!r})
image = np.random.default_rng(0).integers(0, 256, (int(sys.argv[2]), int(sys.argv[3]), 3), dtype=np.uint8)
model.predict(image)
seconds = time.perf_counter() - begin
model.predict(image)
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(seconds, int(peak) / 1024)
"""


@contextmanager
def _exported(arch: str | None, weights: str | None, method: str = "maskclip", **plan: object) -> Iterator[tuple]:
    """A predictor and the folder of its export."""
    from ovperc.export.folder import export_folder
    from ovperc.export.plan import ExportPlan
    from ovperc.tasks.load import load

    predictor = load(method, weights, arch)
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "export"
        export_folder(predictor, ExportPlan(**plan), folder)
        yield predictor, folder


def export_agreement(options: Options) -> Iterator[Measurement]:
    """Labels of exported clip-mini against eager on scenes of the world, and its mIoU."""
    from ovperc.export.parity import STATED_AGREEMENT, Parity
    from ovperc.runtime.manifest import Manifest

    for method in ("maskclip", "sclip"):
        for precision, limit in STATED_AGREEMENT.items():
            with _exported(None, None, method, precision=precision, check_images=_SCENES) as (_, folder):
                manifest = Manifest.read(folder)
                figures, classes = Parity.from_dict(manifest.parity), manifest.latency["words"]
                yield Measurement(
                    "export-agreement",
                    f"{method}, clip-mini, {precision}, {_SCENES} scenes of five sizes, {classes} classes",
                    100 * figures.label_agreement,
                    "% of labels",
                    limit=100 * limit,
                    at_most=False,
                    detail=f"mIoU {figures.miou_exported:.2f}, eager {figures.miou_eager:.2f}; "
                    f"confidence within {figures.max_confidence_error:.1e}",
                )


def export_latency(options: Options) -> Iterator[Measurement]:
    """onnxruntime over eager torch, image in, labels out."""
    from ovperc import runtime

    for precision, limit in (("fp32", 1.0), ("int8", 0.7)):
        with _exported(ARCH, "random", size_hw=IMAGE_HW, precision=precision) as (predictor, folder):
            segmenter = predictor.segmenter
            bank = random_bank(150, segmenter.clip.backbone.embed_dim, segmenter.clip.fingerprint)
            model = runtime.load(folder, threads=options.threads or torch.get_num_threads())
            model.use_bank(bank)
            image = random_image(IMAGE_HW)
            ratio = paired_ratio(
                lambda model=model, image=image: model.predict(image),
                lambda segmenter=segmenter, image=image, bank=bank: segmenter.segment(segmenter.encode(image), bank),
                options.runs,
            )
            setting = f"maskclip, {ARCH}, {precision}, {IMAGE_HW[0]}x{IMAGE_HW[1]}, 150 classes"
            yield Measurement("export-latency", setting, ratio.ratio, "x", limit=limit, detail=str(ratio))


def export_runtime(options: Options) -> Iterator[Measurement]:
    """A new process without torch: time to the first mask, peak memory, the cost of new words."""
    from ovperc import runtime

    with _exported(None, None) as (_, folder):
        command = [sys.executable, "-c", _FIRST_MASK.format(words=_WORDS), str(folder), *map(str, IMAGE_HW)]
        command.append(str(options.threads or 0))
        runs = [subprocess.run(command, check=True, capture_output=True, text=True) for _ in range(3)]
        seconds, peak = min(tuple(map(float, run.stdout.split())) for run in runs)
        size_mb = sum((folder / name).stat().st_size for name in ("model.onnx", "text.onnx")) / 2**20
        yield Measurement(
            "export-runtime", "clip-mini, from the first import to the first mask", seconds, "s", limit=3.0
        )
        yield Measurement(
            "export-runtime",
            f"clip-mini, peak memory of the process, files of {size_mb:.1f} MiB",
            peak,
            "MiB",
            limit=2 * size_mb + 300,
        )
        model = runtime.load(folder, threads=options.threads)
        model.set_words("a")
        prompts = [prompt for word in _NEW_WORDS for prompt in model.text_encoder.prompts(word)]
        begin = time.perf_counter()
        model.text_encoder.encode_prompts(prompts)
        tower = time.perf_counter() - begin
        begin = time.perf_counter()
        model.set_words(list(_NEW_WORDS))
        total = time.perf_counter() - begin
        yield Measurement(
            "export-runtime",
            f"{len(_NEW_WORDS)} new words, beyond the text tower's own time",
            1e3 * max(total - tower, 0.0),
            "ms",
            limit=20.0,
            detail=f"{1e3 * total:.1f} ms, of which the tower {1e3 * tower:.1f} ms",
        )


CASES = tuple(
    Case(run.__name__.replace("_", "-"), (run.__doc__ or "").strip(), run)
    for run in (export_agreement, export_latency, export_runtime)
)
