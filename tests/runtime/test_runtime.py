"""The runtime against eager Python, its refusals, and its life without torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort
import PIL
import pytest
from PIL import Image

import ovperc
from benchmarks.foundation import random_bank, random_image
from ovperc import runtime
from ovperc.core.text_bank import TextBank
from ovperc.tasks.segmentation.prediction import SegPrediction

WORDS = "red star|ruby star, grass, a brick wall"
# A machine without torch: every library that the runtime must do without is refused at import.
_BLOCK = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked}:
            raise ImportError(f"blocked: {{name}}")
sys.meta_path.insert(0, Block())
"""
_BLOCKED = (
    "{'torch','torchvision','open_clip','timm','mmengine','mmcv','mmseg','cv2','scipy','ftfy','regex','yaml',"
    "'onnx','onnxscript','safetensors','pycocotools','matplotlib','rich'}"
)
_DEVICE = """
import numpy as np
from ovperc import runtime
model = runtime.load(FOLDER, threads=1)
model.set_words(["red star", "grass"], background="0.2, sky")
image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
answer = model.predict(image)
answer.draw(image).save(OUT + "/drawn.png")
answer.save(OUT + "/answer")
results = list(model.stream([image] * 3, latest=False))
assert all((r.result.labels == answer.labels).all() for r in results)
print(sorted({name.split(".")[0] for name in sys.modules} & BLOCKED), answer.names)
"""


def test_equals_python_on_words_background_and_pictures(model, predictor) -> None:
    """Changing words in the exported file equals changing them in Python."""
    for words, background in ((WORDS, None), ({"sand": ["beach"]}, "0.3, sky"), (["one"], 0.5)):
        model.set_words(words, background)
        for size_hw in ((50, 71), (64, 48)):
            image = random_image(size_hw)
            ours, theirs = model.predict(image), predictor.predict(image, words, background)
            assert ours.names == theirs.names
            assert (ours.labels == theirs.labels).mean() >= 0.999
            assert np.abs(ours.confidence - theirs.confidence).max() < 1e-3


def test_word_embeddings_equal_the_text_encoder(model, predictor) -> None:
    bank = model.set_words(WORDS)
    reference = predictor.bank(WORDS)
    assert np.abs(bank.embeddings - reference.embeddings.numpy()).max() < 1e-5
    assert (bank.owners == reference.owners.numpy()).all()


def test_a_python_bank_serves_too(model, predictor, tmp_path) -> None:
    bank = predictor.bank(WORDS)
    model.use_bank(bank)
    image = random_image((40, 60))
    first = model.predict(image)
    bank.save(tmp_path / "bank.npz")
    model.use_bank(TextBank.load(tmp_path / "bank.npz"))
    assert (model.predict(image).labels == first.labels).all()


def test_batch_files_and_frames_are_one(model, tmp_path) -> None:
    """A batch equals its images one by one; a file, its array and its camera frame give the same answer."""
    model.set_words(WORDS)
    images = [random_image((40, 60), 1), random_image((40, 60), 2), random_image((33, 47), 3)]
    Image.fromarray(images[0]).save(tmp_path / "frame.png")
    batch = model.predict_batch(images)
    single = [model.predict(image) for image in images]
    assert all((a.labels == b.labels).all() for a, b in zip(batch, single, strict=True))
    from_file = model.predict(tmp_path / "frame.png")
    bgr_frame = images[0][:, :, ::-1]
    assert (from_file.labels == single[0].labels).all()
    assert (model.predict(bgr_frame[:, :, ::-1]).labels == single[0].labels).all()
    assert from_file.source.endswith("frame.png")


def test_the_example_travels_with_the_folder(model, folder) -> None:
    """A copy can be seen to work: the example image gives the expected answer."""
    expected = SegPrediction.load(folder / "expected")
    model.set_words(list(model.manifest.example_words))
    assert (model.predict(folder / "example.png").labels == expected.labels).all()


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (np.zeros((4, 4, 3), np.float32), TypeError, "uint8"),
        (np.zeros((3, 40, 40), np.uint8), ValueError, "channels first"),
        (np.zeros((40, 40), np.uint8), ValueError, r"\(H, W, 3\)"),
        (np.zeros((40, 40, 4), np.uint8), ValueError, r"\(H, W, 3\)"),
        (np.zeros((0, 40, 3), np.uint8), ValueError, "at least one pixel"),
    ],
)
def test_refuses_images(model, image, error, message: str) -> None:
    model.set_words("grass")
    with pytest.raises(error, match=message):
        model.predict(image)


def test_refuses_banks_and_words(model) -> None:
    with pytest.raises(ValueError, match="no words are set"):
        model.predict(random_image((20, 20)))
    with pytest.raises(ValueError, match="made by encoder 'other'"):
        model.use_bank(random_bank(2, 24, "other"))
    with pytest.raises(ValueError, match="6 channels"):
        model.use_bank(random_bank(2, 6, model.manifest.fingerprint))
    zeros = TextBank(np.zeros((1, 24), np.float32), np.zeros(1, np.int64), ("a",), model.manifest.fingerprint)
    with pytest.raises(ValueError, match="length 1; got 0 to 0"):
        model.use_bank(zeros)
    with pytest.raises(TypeError, match="is a TextBank"):
        model.use_bank([1, 2])
    with pytest.raises(ValueError, match="pass words with it"):
        model.predict(random_image((20, 20)), background=0.3)
    with pytest.raises(ValueError, match="words are empty"):
        model.set_words([])
    with pytest.raises(ValueError, match="use fewer words"):
        model.set_words("star " * 100)
    model.set_words("grass")
    with pytest.raises(ValueError, match="made by encoder"):
        model.use_bank(random_bank(2, 24, "other"))
    assert model.names == ("grass",), "a refused bank leaves the words as they were"


def test_refuses_unknown_providers(folder) -> None:
    with pytest.raises(ValueError, match="did you mean 'cpu'"):
        runtime.load(folder, providers="cpuu")
    with pytest.raises(ValueError, match="onnxruntime-gpu"):
        runtime.load(folder, providers=["tensorrt", "cpu"])


def test_runs_where_torch_is_not(folder, tmp_path) -> None:
    script = _BLOCK.format(blocked=_BLOCKED) + f"FOLDER, OUT, BLOCKED = {str(folder)!r}, {str(tmp_path)!r}, {_BLOCKED}"
    run = subprocess.run([sys.executable, "-c", script + _DEVICE], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "[] ('background', 'red star', 'grass')"
    assert SegPrediction.load(tmp_path / "answer").size_hw == (50, 70)
    assert Image.open(tmp_path / "drawn.png").size[0] > 70


def test_runs_beside_numpy_onnxruntime_and_pillow_alone(folder, tmp_path) -> None:
    """An environment of its own, with these three and nothing else installed."""
    site = tmp_path / "site"
    site.mkdir()
    for module in (np, ort, PIL):
        package = Path(module.__file__).parent
        shared = package.parent / f"{'pillow' if module is PIL else package.name}.libs"
        for path in (package, shared):
            if path.exists():
                (site / path.name).symlink_to(path)
    script = f"FOLDER, OUT, BLOCKED = {str(folder)!r}, {str(tmp_path)!r}, {_BLOCKED}\nimport sys\n{_DEVICE}"
    paths = os.pathsep.join([str(site), str(Path(ovperc.__file__).parents[1])])
    environment = {**os.environ, "PYTHONPATH": paths, "PYTHONNOUSERSITE": "1"}
    run = subprocess.run([sys.executable, "-S", "-c", script], capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "[] ('background', 'red star', 'grass')"


@pytest.mark.parametrize("queries", [2, 2000])
def test_two_words_or_two_thousand(model, predictor, queries: int) -> None:
    """A file has no limit of its own."""
    bank = random_bank(queries, 24, model.manifest.fingerprint)
    model.use_bank(bank)
    image = random_image((48, 60))
    theirs = predictor.segmenter.segment(predictor.segmenter.encode(image), bank)
    assert (model.predict(image).labels == theirs.labels.numpy()).mean() >= 0.999
