"""Every benchmark from its public layout to a summary: prepare, test, and the same scores by mmseg's metric."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers.benchmark_fixtures import Fixture, make_fixture
from helpers.segmentation_run import score_segmenter
from ovperc.cli.main import main
from ovperc.core.structures import SegmentationMap, TextBank
from ovperc.data.annotations import read_annotation
from ovperc.data.benchmarks import get_benchmark
from ovperc.data.prepare.preparation import prepare
from ovperc.data.segmentation.sets import SEGMENTATION_SETS
from ovperc.evaluation.request import EvaluationRequest
from ovperc.text.class_names import load_class_names
from ovperc.training.compat import prepare_mmseg

# One sentence per word: what is tested here is not the text tower.
MODEL = ["--weights", "random", "--arch", "clip-mini", "--device", "cpu"]


def run(name: str, root: Path, out: Path, *more: str) -> int:
    options = ["--benchmark", name, "--data-root", str(root), "--allow-partial", "--work-dir", str(out)]
    options += ["--num-workers", "0", *more]
    return main(["test", "naclip", *options, *MODEL, "--cfg-options", "templates=plain"])


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVPERC_HOME", str(tmp_path / "home"))


def expected_scores(name: str, fixture: Fixture, predictions: Path) -> dict[str, float]:
    """Scores of stored predictions against what was drawn, by mmseg's own functions."""
    prepare_mmseg()
    from mmseg.evaluation import IoUMetric

    row = get_benchmark(name)
    classes = load_class_names(row.class_list).labels
    areas = []
    for sample, drawn in fixture.labels.items():
        predicted = read_annotation(predictions / f"{sample}.png").astype(np.int64)
        true = np.where(drawn < 0, row.ignore_index, drawn)
        pair = torch.from_numpy(predicted), torch.from_numpy(true)
        areas.append(IoUMetric.intersect_and_union(*pair, len(classes), row.ignore_index))
    sums = [sum(column) for column in zip(*areas, strict=True)]
    found = IoUMetric.total_area_to_metrics(*sums, metrics=["mIoU"])
    means = {"aAcc": found["aAcc"], "mIoU": np.nanmean(found["IoU"]), "mAcc": np.nanmean(found["Acc"])}
    return {key: 100 * float(value) for key, value in means.items()}


class Striped:
    """Stands for a segmenter: bands of every class it is asked for, at a phase that the image decides."""

    def encode(self, image: np.ndarray) -> np.ndarray:
        return image

    def segment(self, encoded: np.ndarray, bank: TextBank) -> SegmentationMap:
        rows, columns = np.indices(encoded.shape[:2])
        labels = (rows // 4 * 31 + columns // 4 + int(encoded.sum())) % bank.num_classes
        return SegmentationMap(torch.from_numpy(labels.astype(np.int32)), torch.full(labels.shape, 0.5))


@pytest.mark.parametrize("name", sorted(row.name for row in SEGMENTATION_SETS))
def test_prepare_then_test_gives_the_scores_of_mmseg(name: str, tmp_path: Path) -> None:
    fixture = make_fixture(name, tmp_path / "data")
    assert prepare(fixture.row, fixture.root, progress=False).ready
    row = get_benchmark(name)
    images = EvaluationRequest("maskclip", data_root=fixture.root, allow_partial=True).images(row, {})
    vocabulary = row.vocabulary(images, "sclip")
    queries = len(vocabulary.prompts)
    bank = TextBank(
        torch.eye(queries), torch.tensor(vocabulary.owners), vocabulary.names, "none", vocabulary.background
    )
    outcome = score_segmenter(
        Striped(), bank, images, tmp_path / "run", row, presence=2, predictions=tmp_path / "labels"
    )
    assert outcome.finished and len(outcome.present) == len(fixture.labels)
    expected = expected_scores(name, fixture, tmp_path / "labels")
    assert {key: outcome.scores[key] for key in expected} == pytest.approx(expected, abs=1e-4)
    few = len(bank.names) < 25  # the drawn images then hold every class, and none is absent
    assert (outcome.scores["false_area"] == 0) if few else (0 < outcome.scores["false_area"] < 100)


@pytest.mark.filterwarnings("ignore")
def test_one_command_from_files_to_summary(tmp_path: Path) -> None:
    fixture = make_fixture("voc21", tmp_path / "data")
    assert run("voc21", fixture.root, tmp_path / "run", "--save-predictions", "--presence", "2") == 0
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    settings = summary["settings"]
    assert settings["images"] == len(fixture.labels) and not settings["complete"]
    assert settings["threshold"] == 0.1 and settings["overrides"]["tiler.crop_px"] == 0  # the method's protocol
    expected = expected_scores("voc21", fixture, tmp_path / "run/predictions")
    assert {key: summary["metrics"][key] for key in expected} == pytest.approx(expected, abs=1e-4)
    assert 0 <= summary["metrics"]["false_area"] <= 100
    assert run("voc21", fixture.root, tmp_path / "again", "--limit", "1", "--threshold", "0.5") == 0
    changed = json.loads((tmp_path / "again/summary.json").read_text())["settings"]
    assert changed["threshold"] == 0.5 and changed["config"] != settings["config"]


def test_report_page_and_panels(tmp_path: Path) -> None:
    fixture = make_fixture("cityscapes", tmp_path / "data")
    assert run("cityscapes", fixture.root, tmp_path / "run", "--panels", "1") == 0
    page = (tmp_path / "run/report.html").read_text()
    assert "naclip on cityscapes" in page and page.count("<figure>") == 1
    assert len(list((tmp_path / "run/panels").rglob("*_*.png"))) == 1
    assert not list((tmp_path / "run").glob("progress-*"))


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda root: None, "expected 2000 samples, found 3"),
        (lambda root: (root / "annotations").rename(root / "annotation"), "3 annotations are missing"),
        (lambda root: (root / "images").rename(root / "pictures"), "expected a folder images/validation"),
    ],
)
def test_missing_data_is_one_line(break_it, message, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_fixture("ade150", tmp_path / "data")
    break_it(tmp_path / "data")
    options = ["--benchmark", "ade150", "--data-root", str(tmp_path / "data"), "--work-dir", str(tmp_path / "run")]
    assert main(["test", "naclip", *options, *MODEL]) == 2
    answer = capsys.readouterr().err
    assert message in answer and answer.count("\n") == 1


@pytest.mark.parametrize("workers", ["0", "1"])
def test_label_outside_the_range_names_file_and_number(
    workers: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    fixture = make_fixture("ade150", tmp_path / "data")
    path = tmp_path / "data/annotations/validation/ADE_val_00000002.png"
    labels = read_annotation(path).copy()
    labels[0, 0] = 200
    Image.fromarray(labels).save(path)
    assert run("ade150", fixture.root, tmp_path / "run", "--num-workers", workers) == 1
    answer = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")][-1]
    assert "ADE_val_00000002.png: found 200" in answer and "label map 'ade150'" in answer


def test_data_root_for_a_generated_benchmark_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("world-base", tmp_path, tmp_path / "run") == 2
    assert "generated and has no files" in capsys.readouterr().err
