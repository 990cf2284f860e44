"""Exported logit rules, spliced tiles and guides against the eager segmenter."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest
import torch
from PIL import Image

from benchmarks.foundation import random_bank, random_image
from helpers.tiny_exports import bank_feed, tiny_predictor
from ovperc.core.background import Background
from ovperc.core.structures import DenseEmbeddings, TextBank
from ovperc.export.builder import DOUBLE, FLOAT, GraphBuilder, finish_model
from ovperc.export.pillow_ops import resize_pillow
from ovperc.export.rule_ops import PatchMaps, prepare
from ovperc.export.segmentation_graph import assemble, trace_towers
from ovperc.runtime.sessions import OnnxSession
from ovperc.text.foreground import ForegroundRule
from ovperc.text.logit_rules import FeatureSurgery
from ovperc.text.patch_scores import CosineScores


def _session(model) -> OnnxSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    return OnnxSession(ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"]))


def _agreement(session: OnnxSession, segmenter, images: list[np.ndarray], bank: TextBank) -> tuple[float, float]:
    """Share of equal labels and largest error of the confidence of one batch."""
    feed = bank_feed(bank, segmenter.classifier.logit_scale)
    labels, confidence = session.run(None, {"image": np.stack(images), **feed})
    eager = [segmenter.segment(segmenter.encode(image), bank) for image in images]
    share = np.mean([(ours == theirs.labels.numpy()).mean() for ours, theirs in zip(labels, eager, strict=True)])
    errors = [np.abs(ours - e.confidence.numpy()).max() for ours, e in zip(confidence, eager, strict=True)]
    return float(share), float(max(errors))


def _background_bank(fingerprint: str) -> TextBank:
    bank = random_bank(5, 24, fingerprint, synonyms=2)
    return TextBank(bank.embeddings, bank.owners, ("background", *bank.names[1:]), fingerprint, Background(("sky",)))


TILER = {"tiler.short_side_px": 64, "tiler.crop_px": 48, "tiler.stride_px": 32}
METHODS = {
    "clip_surgery": ({"tiler.short_side_px": 64}, 3),
    "clip_dinoiser": (TILER, 2),
    "trident": (TILER, 1),
    "trident-beside": (TILER, 1),
    "proxyclip": ({"tiler.crop_px": 0, "tiler.short_side_px": 50}, 2),
    "gem": (TILER, 2),
}


# Each trace costs seconds: by default a logit rule and the spliced tiles, which hold every part but pooling.
@pytest.mark.parametrize(
    "method",
    [
        pytest.param(name, marks=[] if name in ("clip_dinoiser", "trident-beside") else pytest.mark.slow)
        for name in METHODS
    ],
)
def test_any_size_any_words_any_batch(method: str) -> None:
    overrides, batch = METHODS[method]
    segmenter = tiny_predictor(method, native_px=48, **overrides).segmenter
    session = _session(assemble(segmenter, trace_towers(segmenter)))
    banks = [random_bank(count, 24, segmenter.clip.fingerprint) for count in (1, 4, 300)]
    for size_hw in ((70, 101), (48, 48)):
        images = [random_image(size_hw, seed) for seed in range(batch)]
        for bank in (*banks, _background_bank(segmenter.clip.fingerprint)):
            share, error = _agreement(session, segmenter, images, bank)
            assert share >= 0.999
            assert error < 1e-4


def _rule_session(rule, queries: int, foreground: bool) -> OnnxSession:
    """Scores of one chunk as a graph of its own."""
    graph = GraphBuilder()
    scores = prepare(graph, rule, PatchMaps("patches", 2, "pooled", "foreground" if foreground else None))
    values, _ = scores.chunk(graph, graph.constant(0))
    inputs = [("patches", FLOAT, (2, 3, 4, 5)), ("pooled", FLOAT, (4, 4)), ("text", FLOAT, ("q", 4))]
    inputs += [("owners", 7, ("q",)), ("logit_scale", FLOAT, ()), ("foreground", FLOAT, (2, 3, 1, 5))]
    inputs += [("background_named", 9, ())]
    return _session(finish_model(graph, "rule", inputs, [(values, FLOAT, None)]))


@pytest.mark.parametrize("queries", [1, 6])
@pytest.mark.parametrize(
    "rule", [FeatureSurgery(), ForegroundRule(delta=0.5, scale=4.0)], ids=["surgery", "foreground"]
)
def test_rules_score_patches_as_in_python(rule, queries: int) -> None:
    """Two images, each by itself; with background words patches of no object go to label 0."""
    generator = torch.Generator().manual_seed(0)

    def unit(*shape: int, dim: int = -1) -> torch.Tensor:
        return torch.nn.functional.normalize(torch.randn(*shape, generator=generator), dim=dim)

    patches, pooled, text = unit(2, 3, 4, 5, dim=2), unit(4, 4), unit(queries, 4)
    foreground = torch.randn(2, 3, 1, 5, generator=generator)
    owners = torch.arange(queries) // 2
    names = ("background", "a", "b")
    bank = TextBank(text, owners, names, "f", Background(("sky",)))
    feed = {"patches": patches, "pooled": pooled, "text": text, "owners": owners, "foreground": foreground}
    feed = {name: value.numpy() for name, value in feed.items()}
    feed |= {"logit_scale": np.asarray(1.0, np.float32), "background_named": np.asarray(True)}
    (ours,) = _rule_session(rule, queries, True).run(None, feed)
    for image in range(2):
        flat = patches[image].permute(1, 0, 2).flatten(1)[None]
        embeddings = DenseEmbeddings(
            flat.unflatten(2, (3, 5)),
            pooled=pooled[2 * image : 2 * image + 2],
            foreground=foreground[image].transpose(0, 1),
        )
        expected = rule(CosineScores(flat, text, 100), embeddings, bank).chunk(slice(0, queries))
        assert np.abs(ours[image].transpose(1, 0, 2).reshape(queries, -1) - expected[0].numpy()).max() < 1e-5


@pytest.mark.parametrize("rule", ["bilinear", "bicubic"])
@pytest.mark.parametrize(
    ("old", "new"), [((40, 52), (74, 96)), ((130, 200), (62, 96)), ((96, 17), (96, 17)), ((3, 9), (32, 96))]
)
def test_resizes_are_pillows_bit_for_bit(old: tuple[int, int], new: tuple[int, int], rule: str) -> None:
    graph = GraphBuilder()
    pixels = resize_pillow(graph, "image", (old[0], new[0]), (old[1], new[1]), rule)
    model = finish_model(graph, "resize", [("image", 2, (1, *old, 3))], [(pixels, DOUBLE, None)])
    image = random_image(old)
    expected = np.asarray(Image.fromarray(image).resize(new[::-1], getattr(Image.Resampling, rule.upper())))
    (ours,) = _session(model).run(None, {"image": image[None]})
    assert (ours[0].transpose(1, 2, 0) == expected).all()
