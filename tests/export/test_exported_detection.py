"""Exported detectors against their predictors: regions, scores of any words, suppression, refusals."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from ovperc import runtime
from ovperc.core.structures import TextBank
from ovperc.export.detection_towers import axis_shares, check_detection_exportable
from ovperc.export.folder import export_folder
from ovperc.export.parts import ExportError
from ovperc.export.plan import ExportPlan
from ovperc.readout.regions import axis_weights
from ovperc.runtime.detector import ExportedDetector
from ovperc.runtime.manifest import FolderError, Manifest
from ovperc.runtime.region_scores import FusionSettings, RegionClassifier, region_scores, suppress
from ovperc.runtime.sessions import SessionOptions
from ovperc.tasks.detection.nms import shared_box_nms
from ovperc.text.region_scores import Fusion, TextClassifier, split_background, word_logits
from ovperc.text.region_scores import RegionLogits as Logits
from ovperc.text.vocabulary import Background
from tests.training.test_detector import image, predictor


def _unit(rows: int, width: int = 6, seed: int = 0) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)), dim=1)


def _boxes(rows: int, seed: int = 0) -> np.ndarray:
    low = np.random.default_rng(seed).uniform(0, 40, (rows, 2))
    return np.concatenate([low, low + np.random.default_rng(seed + 1).uniform(4, 30, (rows, 2))], 1).astype(np.float32)


@pytest.mark.slow
def test_a_folder_finds_what_the_predictor_finds(tmp_path) -> None:
    """Any words, and changed words, as in Python."""
    eager = predictor(compose=True)
    manifest = export_folder(eager, ExportPlan((50, 70), check_images=2), tmp_path / "out")
    assert manifest.task == "detection" and manifest.parity["label_agreement"] >= 0.999
    model = runtime.load(tmp_path / "out", threads=1)
    for words, background in (("red star, blue ring|ring", None), ("star, striped red ring, wheel", "0.01, sky")):
        model.set_words(words, background)
        for seed in range(3):
            ours, theirs = model.predict(image(seed)), eager.predict(image(seed), words, background)
            assert ours.names == theirs.names and len(ours) == len(theirs)
            np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-5)
            if len(ours):
                np.testing.assert_allclose(np.sort(ours.boxes, axis=0), np.sort(theirs.boxes, axis=0), atol=1e-2)
    with pytest.raises(ValueError, match="50 x 70"):
        model.predict(image(0, (51, 70)))
    _settings_are_checked(tmp_path / "out")
    (tmp_path / "out" / "inputs.npz").unlink()
    with pytest.raises(FolderError, match=r"inputs\.npz"):
        runtime.load(tmp_path / "out")


def _settings_are_checked(folder) -> None:
    """Values out of range are refused, whoever wrote the manifest."""
    manifest = Manifest.read(folder)
    for name, value in (("nms_iou", -1), ("max_detections", 0), ("min_score", 2), ("fusion", {}), ("base_words", None)):
        changed = dataclasses.replace(manifest, settings={**manifest.settings, name: value})
        with pytest.raises(FolderError, match="corrupt"):
            ExportedDetector(folder, changed, SessionOptions(threads=1))
    classifier = {**manifest.settings["classifier"], "scale": float("nan")}
    with pytest.raises(FolderError, match="positive scale"):
        settings = {**manifest.settings, "classifier": classifier}
        ExportedDetector(folder, dataclasses.replace(manifest, settings=settings), SessionOptions(threads=1))


@pytest.mark.slow
def test_calibrated_int8_detector(tmp_path) -> None:
    plan = ExportPlan((50, 70), precision="int8", calibration_images=2, check_images=1)
    manifest = export_folder(predictor(), plan, tmp_path / "out")
    assert manifest.calibration == 2 and manifest.parity["images"] == 1


@pytest.mark.parametrize("kind", ["learned", "zero", "none"])
@pytest.mark.parametrize("policy", ["fvlm", "fvit", "text", "vlm"])
@pytest.mark.parametrize("explicit", [False, True])
def test_scores_without_torch_are_the_same(policy: str, kind: str, explicit: bool) -> None:
    classifier = TextClassifier(6, 9.0, background=kind)
    words = ("background", "a", "b") if explicit else ("a", "b", "c")
    owners = torch.tensor([0, 0, 1, 2])
    bank = TextBank(_unit(4), owners, words, "f", Background(("sky",)) if explicit else Background())
    text, vlm, objectness = _unit(7, seed=1) * 3, _unit(7, seed=2), torch.rand(7)
    fusion = Fusion(policy, scale=12.0, objectness=2.0)
    is_base = [True, False] if explicit else [True, False, True]
    with torch.no_grad():
        nothing = torch.full((7,), -torch.inf)
        second = split_background(Logits(word_logits(vlm, bank, fusion.scale), nothing), bank)
        expected = fusion(classifier(text, bank), second, is_base) * objectness[:, None] ** 2
        background = None
        if kind == "learned":
            background = torch.nn.functional.normalize(classifier.background, dim=0).numpy()
        settings = RegionClassifier(float(classifier.scale), kind, background)
    regions = {"text": text.numpy(), "vlm": vlm.numpy(), "objectness": objectness.numpy()}
    ours = region_scores(regions, bank.numpy(), is_base, FusionSettings(**dataclasses.asdict(fusion)), settings)
    np.testing.assert_allclose(ours, expected.numpy(), atol=1e-6)


@pytest.mark.parametrize("keep", [3, 100])
def test_suppression_without_torch_is_the_same(keep: int) -> None:
    boxes = _boxes(40)
    scores = np.round(np.random.default_rng(3).uniform(size=(40, 3)), 1).astype(np.float32)  # with ties
    rows, labels = shared_box_nms(torch.from_numpy(boxes), torch.from_numpy(scores), 0.3, keep, 0.2)
    ours = suppress(boxes, scores, 0.3, keep, 0.2)
    assert ours[0].tolist() == rows.tolist() and ours[1].tolist() == labels.tolist()
    assert len(suppress(boxes[:0], scores[:0], 0.3, keep, 0.2)[0]) == 0


@pytest.mark.parametrize(("bins", "sampling"), [(7, 2), (1, 0), (3, 0)])
def test_pooling_of_a_trace_is_roi_align(bins: int, sampling: int) -> None:
    low = torch.tensor([-0.5, 1.3, 4.0, 8.9])
    high = torch.tensor([9.5, 2.1, 4.0, 9.5])
    expected = axis_weights(low, high, 10, bins, sampling)
    torch.testing.assert_close(axis_shares(low, high, 10, bins, sampling), expected)


def test_what_is_refused(tmp_path) -> None:
    with pytest.raises(ExportError, match="--size"):
        export_folder(predictor(), ExportPlan(), tmp_path / "out")
    detector = predictor(fusion={"policy": "fvlm"}, vlm={"kind": "crops"}).detector
    with pytest.raises(ExportError, match="'crops' regions"):
        check_detection_exportable(detector)
    detector.trained = None
    with pytest.raises(ExportError, match="regions from elsewhere"):
        check_detection_exportable(detector)
