"""Exported graphs against the eager segmenter: every rule of tiles and padding, any words, any precision."""

from __future__ import annotations

import cv2
import numpy as np
import onnxruntime as ort
import pytest
import torch

from benchmarks.foundation import random_bank, random_image
from helpers.tiny_exports import bank_feed, tiny_predictor
from ovperc.export.builder import FLOAT, INT32, GraphBuilder, finish_model, tensor_input
from ovperc.export.parity import STATED_AGREEMENT
from ovperc.export.parts import ExportError
from ovperc.export.pixel_ops import AxisPlan, resize_bilinear
from ovperc.export.quantize import in_precision
from ovperc.export.segmentation_graph import assemble, trace_towers


def _session(model) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _compare(session: ort.InferenceSession, segmenter, images: list[np.ndarray], bank) -> tuple[float, float]:
    """Share of equal labels and largest error of the confidence, images of one size as one batch."""
    feed = bank_feed(bank, segmenter.classifier.logit_scale)
    known = {entry.name for entry in session.get_inputs()}
    feed = {name: value for name, value in feed.items() if name in known}
    labels, confidence = session.run(None, {"image": np.stack(images), **feed})
    eager = [segmenter.segment(segmenter.encode(image), bank) for image in images]
    assert labels.shape == (len(images), *images[0].shape[:2])
    share = np.mean([(ours == e.labels.numpy()).mean() for ours, e in zip(labels, eager, strict=True)])
    error = max(np.abs(ours - e.confidence.numpy()).max() for ours, e in zip(confidence, eager, strict=True))
    return float(share), float(error)


def _smooth_images(size_hw: tuple[int, int], count: int = 1) -> list[np.ndarray]:
    """Blurred noise: neighbours are alike, as in photographs."""
    return [cv2.GaussianBlur(random_image(size_hw, seed), (0, 0), 3) for seed in range(count)]


@pytest.mark.parametrize(
    ("original", "resized"),
    [((40, 52), (20, 26)), ((40, 52), (15, 33)), ((13, 9), (26, 40)), ((1, 5), (8, 40)), ((31, 7), (31, 7))],
)
def test_resize_is_opencv_bit_for_bit(original: tuple[int, int], resized: tuple[int, int]) -> None:
    graph = GraphBuilder()
    axes = [AxisPlan(a, b, b, [0], 0, 0) for a, b in zip(original, resized, strict=True)]
    result = resize_bilinear(graph, "image", *axes)
    graph.nodes[-1].output[0] = "resized"
    assert result
    model = finish_model(graph, "r", [("image", 2, (1, *original, 3))], [("resized", INT32, None)])
    image = random_image(original)
    expected = cv2.resize(image, resized[::-1], interpolation=cv2.INTER_LINEAR)
    (ours,) = _session(model).run(None, {"image": image[None]})
    assert (ours[0] == expected).all()


# Whole image padded at the end; overlapping tiles; tiles padded on both sides. Each trace costs seconds: by
# default the last two, and the tests of the runtime, which run on the first.
DYNAMIC = {
    "maskclip": [(37, 50), (130, 70), (48, 48)],
    "sclip": [(60, 190), (130, 70), (333, 401)],
    "clearclip-padded": [(60, 100), (201, 133)],
    "sclip-whole": [(48, 48), (60, 190), (130, 70)],
}


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=[] if case in ("clearclip-padded", "sclip-whole") else pytest.mark.slow)
        for case in DYNAMIC
    ],
)
def test_any_size_any_words_any_batch(case: str) -> None:
    overrides = {}
    if case == "clearclip-padded":
        overrides = {"tiler.pad_multiple_px": 32, "tiler.crop_px": 200, "tiler.stride_px": 120}
    if case == "sclip-whole":
        # The table is resized by a given factor, and not at all on the tower's own grid of 6 x 6.
        overrides = {"tiler.short_side_px": 224, "tiler.crop_px": 0, "tiler.stride_px": 0}
    segmenter = tiny_predictor(case.partition("-")[0], **overrides).segmenter
    session = _session(assemble(segmenter, trace_towers(segmenter)))
    for index, size_hw in enumerate(DYNAMIC[case]):
        for classes, synonyms in ((1, 1), (4, 2), (300, 1)):
            bank = random_bank(classes, 24, segmenter.clip.fingerprint, synonyms)
            images = [random_image(size_hw, seed) for seed in range(1 + index % 2)]
            share, error = _compare(session, segmenter, images, bank)
            assert share >= STATED_AGREEMENT["fp32"]
            assert error < 1e-3


def test_precisions_of_one_size() -> None:
    """The same trace in fp32, fp16 and int8 (ranges at run time, and calibrated), and its fixed-words form."""
    size_hw = (60, 90)
    segmenter = tiny_predictor("naclip").segmenter
    trace = trace_towers(segmenter, size_hw)
    bank = random_bank(6, 24, segmenter.clip.fingerprint)
    images = _smooth_images(size_hw, 3)
    tiles = [segmenter._cut(image).tiles.numpy() for image in images]
    encoders = {
        "fp32": trace,
        "fp16": in_precision(trace, "fp16"),
        "int8": in_precision(trace, "int8"),
        "int8-static": in_precision(trace, "int8", [{"tiles": part} for part in tiles]),
    }
    sizes = {}
    for name, encoder in encoders.items():
        model = assemble(segmenter, encoder, size_hw)
        sizes[name] = model.ByteSize()
        share, _ = _compare(_session(model), segmenter, images, bank)
        # Random towers have no margins between words: int8 is held to its figure on trained weights elsewhere.
        assert share >= (0.85 if name.startswith("int8") else STATED_AGREEMENT[name]), name
    assert sizes["int8"] < sizes["fp16"] < sizes["fp32"]
    baked = _session(assemble(segmenter, trace, size_hw, bank))
    feed = bank_feed(bank, segmenter.classifier.logit_scale)
    del feed["background_named"]
    free = _session(assemble(segmenter, trace, size_hw)).run(None, {"image": images[0][None], **feed})
    fixed = baked.run(None, {"image": images[0][None]} | {k: v for k, v in feed.items() if v.ndim == 0})
    assert all((a == b).all() for a, b in zip(free, fixed, strict=True))


def test_background_threshold_and_ties() -> None:
    """Pixels below the threshold become label 0; of equal prompts the lowest label wins."""
    from ovperc.core.background import Background
    from ovperc.core.structures import DenseEmbeddings, TextBank
    from ovperc.export.map_ops import classify
    from ovperc.text.classifier import StreamingClassifier
    from ovperc.tiling import Stitcher, Tiler

    graph = GraphBuilder()
    axes = tuple(AxisPlan(side, side, side, [0], 0, 0) for side in (20, 30))
    answer = classify(graph, {"embeddings": "embeddings"}, graph.size("embeddings", 0), axes, False, True)
    inputs = [("embeddings", FLOAT, ("b", 4, 5, 6)), ("text", FLOAT, ("q", 4)), ("owners", 7, ("q",))]
    inputs += [("logit_scale", FLOAT, ()), ("background_threshold", FLOAT, ())]
    outputs = [(answer[0], INT32, None), (answer[1], FLOAT, None)]
    session = _session(finish_model(graph, "c", inputs, outputs))
    patches = torch.nn.functional.normalize(torch.randn(1, 4, 5, 6, generator=torch.Generator().manual_seed(0)), dim=1)
    row = torch.nn.functional.normalize(torch.randn(2, 4, generator=torch.Generator().manual_seed(1)), dim=1)
    bank = TextBank(
        row[[0, 1, 1, 0]], torch.tensor([0, 1, 2, 3]), ("background", "a", "b", "c"), "f", Background((), 0.4)
    )
    feed = bank_feed(bank, 3.0)
    del feed["background_named"]
    labels, confidence = session.run(None, {"embeddings": patches.numpy(), **feed})
    geometry = Tiler().plan((20, 30), 1)
    expected = StreamingClassifier(3.0)(DenseEmbeddings(patches), bank, Stitcher(geometry, (5, 6)))
    assert (labels[0] == expected.labels.numpy()).all()
    assert set(np.unique(labels)) <= {0, 1}
    assert np.abs(confidence[0] - expected.confidence.numpy()).max() < 1e-6
    assert tensor_input("x", FLOAT, None).name == "x"


@pytest.mark.parametrize(("method", "part"), [("maskclip_ks_pd", "RuleChain"), ("naclip_pamr", "PAMR")])
def test_methods_without_an_exported_form_are_refused(method: str, part: str) -> None:
    with pytest.raises(ExportError, match=part):
        trace_towers(tiny_predictor(method).segmenter)
