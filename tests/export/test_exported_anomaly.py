"""Exported anomaly methods against their predictors: maps, scores, decisions, refusals."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest
import torch

from helpers.tiny_models import tiny_clip
from ovperc import runtime
from ovperc.export.anomaly_graph import anomaly_inputs, assemble_anomaly, check_anomaly_exportable, trace_anomaly
from ovperc.export.builder import FLOAT, GraphBuilder, finish_model
from ovperc.export.folder import export_folder
from ovperc.export.parts import ExportError
from ovperc.export.plan import ExportPlan
from ovperc.export.render_ops import render_operator
from ovperc.runtime.manifest import INPUTS_NAME, FolderError
from ovperc.tasks.anomaly.load import build_predictor
from ovperc.tasks.anomaly.map_upsampler import MapUpsampler
from ovperc.tasks.anomaly.method import AnomalyMethod

SQUARE = {"type": "SquareTiler", "size_px": 48}
TILED = {"type": "Tiler", "short_side_px": 64, "crop_px": 48, "stride_px": 32, "whole_patches": True}
TILED["follow_long_side"] = True
TEXTS = {"type": "ComposedTexts", "prompts": "photo"}
TEXT_HEAD = {"type": "TextMapHead", "side_blocks": 2, "peak": 0.5}
MEMORY_HEAD = {"type": "PatchMemoryHead", "taps": (-2, -1), "neighbours": 2, "pool": 3, "peak_share": 0.1}


def _predictor(head=TEXT_HEAD, tiler=SQUARE, **fields):
    texts = None if head["type"] == "PatchMemoryHead" else TEXTS
    method = AnomalyMethod(name="tiny", head=head, tiler=tiler, texts=texts, pos_embed="bilinear_square", **fields)
    return build_predictor(method, tiny_clip("vit", pos_embed="bilinear_square"))


def _images(*sizes: tuple[int, int], seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]


@pytest.fixture(scope="module")
def fitted():
    """Patch memory with thresholds, in overlapping tiles."""
    return _predictor(MEMORY_HEAD, TILED, resize="opencv").fit(_images((64, 70), (48, 60), (50, 50)), fpr=0.3)


@pytest.fixture(scope="module")
def folder(fitted, tmp_path_factory):
    """Its export; not to be written to."""
    out = tmp_path_factory.mktemp("anomaly") / "memory"
    export_folder(fitted, ExportPlan(object_name="nut", check_images=2), out)
    return out


def test_words_of_two_vectors_are_an_input() -> None:
    predictor = _predictor(tile_score="mean")
    texts = [anomaly_inputs(predictor, name) for name in ("star", "metal nut")]
    model = assemble_anomaly(predictor, trace_anomaly(predictor, None, texts[0]), texts[0])
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    images = _images((48, 48), (48, 48), seed=3)
    for name, inputs in zip(("star", "metal nut"), texts, strict=True):
        maps, scores = session.run(["map", "score"], {"image": np.stack(images), **inputs})
        for image, ours, score in zip(images, maps, scores, strict=True):
            theirs = predictor.predict(image, name)
            np.testing.assert_allclose(ours, theirs.map, atol=1e-4)
            assert float(score) == pytest.approx(theirs.image_score, abs=1e-4)


def test_memory_in_tiles_of_any_size_with_its_decision(folder, fitted) -> None:
    model = runtime.load(folder, threads=1)
    for image in _images((64, 64), (70, 101), (90, 60), seed=5):
        ours, theirs = model.predict(image), fitted.predict(image, "nut")
        np.testing.assert_allclose(ours.map, theirs.map, atol=1e-4)
        assert ours.image_score == pytest.approx(theirs.image_score, abs=1e-4)
        assert ours.is_anomalous == theirs.is_anomalous
        assert (ours.object_name, ours.calibration, ours.scale) == ("nut", theirs.calibration, theirs.scale)
    assert model.manifest.parity["label_agreement"] >= 0.999
    assert next(iter(model.stream([image], latest=False))).result.image_score == model.predict(image).image_score


def test_calibrated_int8_is_smaller_and_close(fitted, folder, tmp_path) -> None:
    """Ranges fixed on products of the world; random towers have no margins, so the bound is loose."""
    plan = ExportPlan(object_name="nut", precision="int8", calibration_images=3, check_images=2)
    manifest = export_folder(fitted, plan, tmp_path / "int8")
    assert (manifest.precision, manifest.calibration) == ("int8", 3)
    assert manifest.parity["label_agreement"] > 0.9 and manifest.parity["benchmark"] == "world-anomaly"
    assert (tmp_path / "int8" / "model.onnx").stat().st_size < (folder / "model.onnx").stat().st_size


def test_another_memory_serves_the_same_file(folder) -> None:
    other = _predictor(MEMORY_HEAD, TILED, resize="opencv").fit(_images((80, 64), seed=8))
    model = runtime.load(folder, threads=1)
    model.use_inputs(anomaly_inputs(other, "nut"))
    (image,) = _images((64, 80), seed=9)
    np.testing.assert_allclose(model.predict(image).map, other.predict(image).map, atol=1e-4)
    rows = model.inputs["memory_0"]
    for wrong, message in (
        ({"memory_0": rows}, "compares with memory_0, memory_1"),
        ({"memory_0": rows[:, :-1], "memory_1": rows}, "channels"),
        ({"memory_0": rows[:0], "memory_1": rows}, "channels"),
        ({"memory_0": np.full_like(rows, np.nan), "memory_1": rows}, "not finite"),
    ):
        with pytest.raises(ValueError, match=message):
            model.use_inputs(wrong)


@pytest.mark.parametrize(
    "upsampler",
    [
        MapUpsampler(8, sigma_px=0.0),
        MapUpsampler(8, sigma_px=4.0),
        MapUpsampler(4, sigma_px=6.0, align_corners=True, box=3),
    ],
)
@pytest.mark.parametrize(("patches", "pixels"), [(6, 48), (5, 71), (1, 9)])
def test_maps_are_rendered_as_in_python(upsampler: MapUpsampler, patches: int, pixels: int) -> None:
    graph = GraphBuilder()
    sides = [graph.reshape(name, 1) for name in ("patches", "pixels")]
    sides = [graph.op("Squeeze", side) for side in sides]
    operator = render_operator(graph, upsampler, *sides)
    model = finish_model(graph, "render", [("patches", 7, ()), ("pixels", 7, ())], [(operator, FLOAT, None)])
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (ours,) = session.run(None, {"patches": np.asarray(patches), "pixels": np.asarray(pixels)})
    np.testing.assert_allclose(ours, upsampler.operator(patches, pixels).numpy(), atol=1e-6)


def test_what_is_refused(folder, tmp_path) -> None:
    with pytest.raises(ExportError, match="WinClipHead has no exported form"):
        check_anomaly_exportable(_predictor({"type": "WinClipHead"}))
    with pytest.raises(ExportError, match="no normal images"):
        check_anomaly_exportable(_predictor(MEMORY_HEAD, TILED))
    with pytest.raises(ExportError, match=r"views=False"):
        check_anomaly_exportable(_predictor({**TEXT_HEAD, "views": True}))
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    (copy / INPUTS_NAME).write_bytes(b"no archive")
    with pytest.raises(FolderError, match="sha256"):
        runtime.load(copy)
    with pytest.raises(FolderError, match=INPUTS_NAME):
        runtime.load(copy, verify=False)
    assert torch.is_inference_mode_enabled() is False
