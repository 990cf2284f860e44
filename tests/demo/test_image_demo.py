"""The image demo: what it writes, what it reports, and that nothing half-written stays behind."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.tiny_models import tiny_clip
from ovperc.cli.main import main
from ovperc.core.atomic import staged_directory
from ovperc.tasks import load as loading
from ovperc.tasks import vocabulary_predictor
from ovperc.tasks.methods import load_method
from ovperc.tasks.predictor import PredictorInfo
from ovperc.tasks.segmentation.build import build_segmenter
from ovperc.tasks.segmentation.prediction import SegPrediction
from ovperc.tasks.segmentation.predictor import SegPredictor
from ovperc.text.encoder import TextEncoder

ROOT = Path(__file__).parents[2]
NAMES = ("{}.json", "{}.png", "{}_overlay.png")


@pytest.fixture(scope="module")
def tiny() -> SegPredictor:
    method = load_method("maskclip")
    clip = tiny_clip("vit", pos_embed=method.pos_embed)
    info = PredictorInfo("maskclip", clip.source, clip.arch, clip.fingerprint, "cpu", "float32")
    return SegPredictor(build_segmenter(method, clip), TextEncoder(clip.text, clip.fingerprint, "plain"), info)


@pytest.fixture
def demo(tiny: SegPredictor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Runs the demo on a tiny model; returns the exit status."""
    monkeypatch.setattr(loading, "load", lambda **options: tiny)

    def run(*images: Path, words: str = "brick, sky", extra: tuple[str, ...] = ()) -> int:
        arguments = ["predict", *map(str, images), "--words", words, "--out", str(tmp_path / "out"), *extra]
        return main(arguments)

    return run


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    (folder / "deeper").mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    for name in ("a.png", "b.png", "deeper/a.png"):
        Image.fromarray(pixels).save(folder / name)
    return folder


def written(tmp_path: Path) -> list[str]:
    out = tmp_path / "out"
    return sorted(file.name for file in out.rglob("*")) if out.exists() else []


def expected(*stems: str) -> list[str]:
    return sorted(name.format(stem) for stem in stems for name in NAMES)


def test_writes_three_files_per_image(demo, photos: Path, tmp_path: Path) -> None:
    assert demo(photos) == 0
    assert written(tmp_path) == expected("a", "b")
    prediction = SegPrediction.load(tmp_path / "out" / "a")
    assert prediction.size_hw == (40, 60)
    assert prediction.names == ("brick", "sky")
    assert prediction.source == str(photos / "a.png")


def test_equal_stems_do_not_overwrite_each_other(demo, photos: Path, tmp_path: Path) -> None:
    assert demo(photos, extra=("--recursive",)) == 0
    assert written(tmp_path) == expected("a", "a-2", "b")


def test_bad_images_are_reported_and_the_rest_go_on(demo, photos: Path, tmp_path: Path, capsys) -> None:
    (photos / "aa.jpg").write_bytes(b"no image at all")
    (photos / "empty.png").touch()
    assert demo(photos, tmp_path / "absent.png", photos / "b.png", words="brick, sky") == 1
    assert written(tmp_path) == expected("a", "b", "b-2")
    complaints = capsys.readouterr().err
    assert all(name in complaints for name in ("aa.jpg", "empty.png", "absent.png"))
    assert complaints.count("error:") == 3


def test_folder_without_images_fails_alone(demo, photos: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "nothing").mkdir()
    assert demo(tmp_path / "nothing", photos / "a.png") == 1
    assert written(tmp_path) == expected("a")
    assert "no image in the folder" in capsys.readouterr().err


@pytest.mark.parametrize("words", ["", " , ", "sky, sky", "word " * 90, "absent.txt"])
def test_bad_words_are_a_usage_error(demo, photos: Path, tmp_path: Path, words: str, capsys) -> None:
    assert demo(photos, words=words) == 2
    assert written(tmp_path) == []
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--method", "masklip", "'maskclip'"),
        ("--weights", "ViT-B-16/openia", "ViT-B-16/openai"),
        ("--weights", "absent.pt", "absent.pt"),
        ("--device", "gpu", "device"),
        ("--background", "1.5", "[0, 1]"),
    ],
)
def test_bad_options_are_usage_errors(photos: Path, tmp_path: Path, capsys, option, value, message) -> None:
    settings = {"--weights": "random", "--arch": "clip-mini", option: value}
    if option == "--weights":
        del settings["--arch"]
    flags = [text for pair in settings.items() for text in pair]
    assert main(["predict", str(photos), "--words", "sky, sand", "--out", str(tmp_path / "out"), *flags]) == 2
    assert message in capsys.readouterr().err
    assert written(tmp_path) == []


def test_words_the_weights_never_met_are_told_in_one_line(demo, photos: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(vocabulary_predictor, "unseen_words", lambda tower, words: tuple(set(words) & {"teapot"}))
    assert demo(photos / "a.png", words="teapot, sky") == 0
    warned = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert len(warned) == 1
    assert "'teapot'" in warned[0]


def test_missing_arguments_are_a_usage_error(capsys) -> None:
    assert main(["predict", "a.png"]) == 2
    assert "--out" in capsys.readouterr().err
    assert main(["predict", "a.png", "--out", "out"]) == 2
    assert "--words" in capsys.readouterr().err


def test_output_that_cannot_be_a_folder_is_a_usage_error(demo, photos: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "out").write_text("a file")
    assert demo(photos) == 2
    assert str(tmp_path / "out") in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_output_without_permission_is_reported(demo, photos: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "out").mkdir(mode=0o500)
    assert demo(photos) == 1
    assert "Permission denied" in capsys.readouterr().err


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), PermissionError(13, "denied")])
def test_write_that_fails_leaves_nothing_of_that_image(demo, photos, tmp_path, monkeypatch, capsys, error) -> None:
    save = Image.Image.save

    def full(self, target, *arguments, **options):
        if "b_overlay" in str(target):
            Path(target).write_bytes(b"part of a picture")
            raise error
        save(self, target, *arguments, **options)

    monkeypatch.setattr(Image.Image, "save", full)
    assert demo(photos) == 1
    assert written(tmp_path) == expected("a")
    assert str(error) in capsys.readouterr().err


def test_move_that_fails_takes_back_what_was_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace, moves = os.replace, []

    def full(source, target):
        moves.append(target)
        if len(moves) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"), staged_directory(tmp_path / "out") as folder:
        (folder / "one").touch()
        (folder / "two").touch()
    assert written(tmp_path) == []


def test_interrupt_keeps_complete_images_only(demo, photos: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    draw = SegPrediction.draw

    def interrupted(self, *arguments, **options):
        if self.source.endswith("b.png"):
            raise KeyboardInterrupt
        return draw(self, *arguments, **options)

    monkeypatch.setattr(SegPrediction, "draw", interrupted)
    assert demo(photos) == 130
    assert written(tmp_path) == expected("a")
    assert "interrupted" in capsys.readouterr().err


def test_terminate_leaves_no_partial_output(tmp_path: Path) -> None:
    code = """
import sys, time
from pathlib import Path
from ovperc.cli.exits import run_to_exit_code
from ovperc.core.atomic import staged_directory

def work():
    with staged_directory(Path(sys.argv[1])) as folder:
        (folder / "half").touch()
        print("ready", flush=True)
        time.sleep(60)

sys.exit(run_to_exit_code(work))
"""
    command = [sys.executable, "-c", code, str(tmp_path / "out")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 143
        assert time.monotonic() - started < 30
    assert written(tmp_path) == []


def test_help_shows_an_example_without_torch(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('torch was imported')")
    paths = os.pathsep.join([str(tmp_path), str(ROOT)])
    command = [sys.executable, str(ROOT / "demo" / "image_demo.py"), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths})
    assert done.returncode == 0, done.stderr
    assert "ovperc predict photo.jpg" in done.stdout
