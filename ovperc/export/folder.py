"""Makes the folder of an export: models, tokenizer, manifest, example; complete or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from PIL import Image

from ovperc.core.atomic import remove_leftovers, temporary_folder
from ovperc.core.version import __version__
from ovperc.export.anomaly import AnomalyExport
from ovperc.export.builder import OPSET
from ovperc.export.detection import DetectionExport
from ovperc.export.parts import GraphBuilders
from ovperc.export.plan import ExportPlan
from ovperc.export.quantize import in_precision
from ovperc.export.segmentation import SegmentationExport
from ovperc.export.text_tower import export_text, known_tokens, merges_file
from ovperc.runtime import load
from ovperc.runtime.card import CARD_NAME
from ovperc.runtime.manifest import (
    EXAMPLE_NAME,
    EXPECTED_STEM,
    INPUTS_NAME,
    MANIFEST_NAME,
    MERGES_NAME,
    MODEL_NAME,
    TEXT_NAME,
    Manifest,
)
from ovperc.tasks.anomaly.predictor import AnomalyPredictor
from ovperc.tasks.detection.predictor import DetPredictor
from ovperc.tasks.segmentation.predictor import SegPredictor
from ovperc.weights.catalogue import get_entry, list_weights

if TYPE_CHECKING:
    from ovperc.export.scenes import Example
    from ovperc.export.task_export import TaskExport
    from ovperc.export.tracing import Traced

TASKS: GraphBuilders[type[TaskExport]] = GraphBuilders(
    "predictor", "use ovperc.load on machines with torch, or export a method of another task"
)
TASKS.register(SegPredictor)(SegmentationExport)
TASKS.register(AnomalyPredictor)(AnomalyExport)
TASKS.register(DetPredictor)(DetectionExport)


def export_folder(predictor: Any, plan: ExportPlan, out: str | Path, traced: Traced | None = None) -> Manifest:
    """Exports a predictor of any task.

    Args:
        predictor: in float32 on the CPU; fitted, where it compares with normal images.
        plan: what to write.
        out: folder to make. One that holds an earlier export is replaced; any other that is not empty is refused.
        traced: from :meth:`TaskExport.trace` of the same method, weights and size, to save its time.

    Returns:
        The manifest, with the figures of the check if the plan has one.

    Raises:
        ExportError: the method has no exported form, or the plan does not fit its task.
        FileExistsError: ``out`` holds something else.
    """
    export = TASKS.find(predictor)(predictor, plan)
    with replaced_folder(Path(out)) as folder:
        _write_models(export, folder, export.trace() if traced is None else traced)
        example = export.example()
        manifest = _manifest(export, example)
        manifest.write(folder)
        exported = load(folder, verify=False)
        _write_example(exported, example, folder)
        if plan.check_images:
            check = export.compare(exported)
            manifest = replace(manifest, parity=check.parity.as_dict(), latency=check.latency)
        manifest.write(folder)
    return Manifest.read(Path(out).expanduser())


def _write_models(export: TaskExport, folder: Path, traced: Traced) -> None:
    plan, encoder, inputs = export.plan, export.text_encoder, export.inputs()
    feeds = export.calibration_feeds() if plan.calibration_images else []
    onnx.save(export.assemble(in_precision(traced, plan.precision, feeds)), folder / MODEL_NAME)
    if encoder is not None:
        onnx.save(export_text(encoder.text_tower), folder / TEXT_NAME)
        shutil.copyfile(merges_file(encoder), folder / MERGES_NAME)
    if inputs is not None:
        np.savez(folder / INPUTS_NAME, **inputs)


def _manifest(export: TaskExport, example: Example) -> Manifest:
    info, resolved, plan, encoder = export.predictor.info, export.predictor.resolved, export.plan, export.text_encoder
    text = {}
    if encoder is not None:
        text = {
            "templates": encoder.templates.patterns,
            "mass_nouns": tuple(sorted(encoder.templates.mass_nouns)),
            "context_length": encoder.text_tower.context_length,
            "known_tokens": known_tokens(encoder),
        }
    return Manifest(
        method=info.method,
        title="" if resolved is None else resolved.method.title,
        task=export.task,
        weights=info.weights,
        arch=info.arch,
        licence=_licence(info.weights),
        fingerprint=info.fingerprint,
        precision=plan.precision,
        calibration=plan.calibration_images,
        opset=OPSET,
        version=__version__,
        example_words=example.words,
        **text,
        **export.fields(),
    )


def _licence(weights: str) -> str:
    """Of weights in the catalogue; other files have one that only their owner knows."""
    return get_entry(weights).licence if weights in list_weights() else "unknown: see where the weights came from"


def _write_example(exported: Any, example: Example, folder: Path) -> None:
    """An image, and what the exported model returns for it, to see that a copy works elsewhere."""
    Image.fromarray(example.image).save(folder / EXAMPLE_NAME)
    words = [list(example.words)] if example.words else []
    replace(exported.predict(example.image, *words), source=EXAMPLE_NAME).save(folder / EXPECTED_STEM)


@contextmanager
def replaced_folder(out: Path) -> Iterator[Path]:
    """A hidden folder in the parent of ``out`` that takes its place when the block ends well.

    Raises:
        FileExistsError: ``out`` is no folder, or one that holds something else than an export.
    """
    out = out.expanduser()
    ours = (out / MANIFEST_NAME).exists() or (out / CARD_NAME).exists()
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not ours)):
        raise FileExistsError(f"{str(out)!r} exists and is no exported folder; choose another --out")
    out.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(out.parent)
    with temporary_folder(out.parent) as parent:
        folder, before = parent / "new", parent / "old"
        folder.mkdir()
        yield folder
        if out.exists():
            os.replace(out, before)
        try:
            os.replace(folder, out)
        except BaseException:
            if before.exists():
                os.replace(before, out)
            raise
