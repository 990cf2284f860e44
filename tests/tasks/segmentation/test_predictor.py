"""The predictor: every form of image and words, caching, background, and clear answers to bad input."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import ovperc
from helpers.tiny_models import tiny_clip
from ovperc.core.errors import ImageError
from ovperc.core.structures import Background
from ovperc.tasks.load import load
from ovperc.tasks.methods import load_method
from ovperc.tasks.predictor import PredictorInfo
from ovperc.tasks.segmentation.build import build_segmenter
from ovperc.tasks.segmentation.predictor import SegPredictor
from ovperc.text.coverage import UnseenWordsWarning, unseen_words
from ovperc.text.encoder import TextEncoder

WORDS = "brick, grass|lawn, sky"


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVPERC_HOME", str(tmp_path_factory.mktemp("home")))


def make_predictor(method_name: str = "maskclip", background=None) -> SegPredictor:
    method = load_method(method_name, {"templates": "plain"})
    clip = tiny_clip("vit", pos_embed=method.pos_embed)
    info = PredictorInfo(method_name, clip.source, clip.arch, clip.fingerprint, "cpu", "float32")
    return SegPredictor(
        build_segmenter(method, clip), TextEncoder(clip.text, clip.fingerprint, "plain"), info, background
    )


@pytest.fixture(scope="module")
def predictor() -> SegPredictor:
    return make_predictor()


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    coarse = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((11, 13, 1), np.uint8))


@pytest.fixture
def folder(tmp_path: Path, image: np.ndarray) -> Path:
    Image.fromarray(image).save(tmp_path / "b.png")
    Image.fromarray(image[:, ::-1]).save(tmp_path / "a.png")
    return tmp_path


def same(first: ovperc.SegPrediction, second: ovperc.SegPrediction) -> bool:
    return np.array_equal(first.labels, second.labels) and np.array_equal(first.confidence, second.confidence)


def test_prediction_has_the_size_names_and_origin(predictor: SegPredictor, image: np.ndarray) -> None:
    prediction = predictor.predict(image, WORDS)
    assert prediction.labels.shape == prediction.confidence.shape == image.shape[:2]
    assert prediction.labels.dtype == np.uint16
    assert prediction.names == ("brick", "grass", "sky")
    assert prediction.method == "maskclip"
    assert prediction.metadata["arch"] == "tiny-vit"
    assert prediction.metadata["fingerprint"] == predictor.info.fingerprint
    assert len(prediction.metadata["resized_hw"]) == 2


def test_every_form_of_an_image_gives_one_answer(predictor: SegPredictor, folder: Path, image: np.ndarray) -> None:
    expected = predictor.predict(image, WORDS)
    tensor = torch.from_numpy(image.copy()).permute(2, 0, 1)
    for form in (folder / "b.png", str(folder / "b.png"), Image.fromarray(image), tensor, tensor.float() / 255):
        prediction = predictor.predict(form, WORDS)
        assert isinstance(prediction, ovperc.SegPrediction)
        assert same(prediction, expected)


def test_several_images_give_a_list_in_order(predictor: SegPredictor, folder: Path, image: np.ndarray) -> None:
    expected = [predictor.predict(image[:, ::-1].copy(), WORDS), predictor.predict(image, WORDS)]
    batch = np.stack([image[:, ::-1], image])
    tensors = torch.from_numpy(batch.copy()).permute(0, 3, 1, 2)
    for form in (folder, [folder / "a.png", folder / "b.png"], batch, tensors, (one for one in batch)):
        answers = predictor.predict(form, WORDS)
        assert isinstance(answers, list)
        assert all(same(one, other) for one, other in zip(answers, expected, strict=True))
    assert len(predictor.predict([image], WORDS)) == 1
    assert predictor.predict([], WORDS) == []
    assert [Path(one.source).name for one in predictor.predict(folder, WORDS)] == ["a.png", "b.png"]


def test_every_form_of_words_gives_one_answer(predictor: SegPredictor, tmp_path: Path, image: np.ndarray) -> None:
    expected = predictor.predict(image, WORDS)
    (tmp_path / "words.json").write_text('{"brick": [], "grass": ["lawn"], "sky": []}')
    (tmp_path / "words.yaml").write_text("- brick\n- grass|lawn\n- sky\n")
    (tmp_path / "words.txt").write_text("brick\ngrass|lawn\nsky\n")
    forms = [
        ["brick", "grass|lawn", "sky"],
        {"brick": [], "grass": ["lawn"], "sky": None},
        tmp_path / "words.json",
        str(tmp_path / "words.yaml"),
        tmp_path / "words.txt",
        ovperc.Vocabulary.parse(WORDS),
    ]
    for words in forms:
        assert same(predictor.predict(image, words), expected)


def test_new_words_on_an_encoded_image_ask_no_tower(image: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = make_predictor()
    expected = predictor.predict(image, WORDS), predictor.predict(image, "water, sand")
    encoded = predictor.encode(image)
    monkeypatch.setattr(predictor.segmenter.clip.backbone, "forward_dense", None)
    monkeypatch.setattr(predictor.text_encoder.text_tower, "encode_tokens", None)
    assert same(predictor.predict_encoded(encoded, WORDS), expected[0])
    assert same(predictor.predict_encoded(encoded, "water, sand"), expected[1])


def test_few_banks_stay_in_memory() -> None:
    predictor = make_predictor()
    first = predictor.bank("word 0")
    assert predictor.bank(["word 0"]) is first
    for index in range(1, 40):
        predictor.bank(f"word {index}")
    assert len(predictor._banks) < 20
    assert torch.equal(predictor.bank("word 0").embeddings, first.embeddings)


def test_embedded_words_stay_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = tiny_clip("vit")
    bank = TextEncoder(clip.text, clip.fingerprint, "plain", cache_dir=tmp_path)(ovperc.Vocabulary.parse(WORDS))
    monkeypatch.setattr(clip.text, "encode_tokens", None)
    again = TextEncoder(clip.text, clip.fingerprint, "plain", cache_dir=tmp_path)(ovperc.Vocabulary.parse(WORDS))
    assert torch.equal(bank.embeddings, again.embeddings)


@pytest.mark.parametrize("policy", [0.999, "wall", "0.999, wall", Background(("wall",))])
def test_background_of_the_call_and_of_the_predictor(image: np.ndarray, policy) -> None:
    of_call = make_predictor().predict(image, "brick, sky", background=policy)
    of_predictor = make_predictor(background=policy).predict(image, "brick, sky")
    assert of_call.names == ("background", "brick", "sky")
    assert same(of_call, of_predictor)
    assert of_call.metadata["background"]["words"] == (() if policy == 0.999 else ("wall",))


def test_vocabulary_keeps_its_own_background(image: np.ndarray) -> None:
    vocabulary = ovperc.Vocabulary.parse("brick, sky", background="wall")
    predictor = make_predictor(background=0.5)
    assert predictor.vocabulary(vocabulary) is vocabulary
    assert predictor.bank(vocabulary).background == Background(("wall",))


def test_scores_agree_with_the_prediction(predictor: SegPredictor, image: np.ndarray) -> None:
    encoded = predictor.encode(image)
    scores = predictor.scores(encoded, "brick, sky")
    prediction = predictor.predict_encoded(encoded, "brick, sky")
    assert scores.shape == (2, *image.shape[:2])
    assert torch.equal(scores.argmax(0), torch.from_numpy(prediction.labels.astype(np.int64)))
    assert np.allclose(scores.amax(0).numpy(), prediction.confidence, atol=1e-5)
    assert torch.equal(predictor.scores(image, "brick, sky"), scores)


def test_predictions_can_be_saved_with_their_origin(predictor: SegPredictor, image: np.ndarray, tmp_path: Path) -> None:
    prediction = predictor.predict(image, WORDS)
    prediction.save(tmp_path / "p")
    read = ovperc.SegPrediction.load(tmp_path / "p")
    assert np.array_equal(read.labels, prediction.labels)
    assert read.metadata["arch"] == "tiny-vit"


def test_one_bad_image_of_a_folder_is_reported_and_the_rest_go_on(predictor: SegPredictor, folder: Path) -> None:
    (folder / "aa.png").write_bytes((folder / "a.png").read_bytes()[:60])
    image_results = list(predictor.predict_each(folder, WORDS))
    assert [outcome.source.stem for outcome in image_results] == ["a", "aa", "b"]
    assert [outcome.error is None for outcome in image_results] == [True, False, True]
    assert "aa.png" in str(image_results[1].error)
    assert image_results[1].prediction is None
    assert image_results[0].image.shape[:2] == image_results[0].prediction.size_hw
    with pytest.raises(ImageError, match=r"aa\.png"):
        predictor.predict(folder, WORDS)


def test_interrupt_is_not_swallowed(predictor: SegPredictor, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(predictor, "encode", interrupt)
    with pytest.raises(KeyboardInterrupt):
        next(predictor.predict_each(folder, WORDS))


@pytest.mark.parametrize("words", ["", "  ", [], {}, ["brick", ""], "brick, brick", "word " * 90])
def test_bad_words_fail_before_any_image_is_read(predictor: SegPredictor, words) -> None:
    with pytest.raises(ValueError, match=r"empty|repeats|fit"):
        predictor.predict("/no/such/image.png", words)


@pytest.mark.parametrize("image", ["/no/such/image.png", np.zeros((0, 4, 3), np.uint8), np.zeros((2, 3, 4, 5, 6))])
def test_bad_images_are_image_errors(predictor: SegPredictor, image) -> None:
    with pytest.raises(ImageError):
        predictor.predict(image, WORDS)


def test_what_is_no_image_is_a_type_error(predictor: SegPredictor) -> None:
    with pytest.raises(TypeError, match="an image is a path"):
        predictor.predict(7, WORDS)


def test_load_runs_every_method_name_and_overrides() -> None:
    settings = {"weights": "random", "arch": "clip-mini", "templates": "plain"}
    predictor = load("sclip", **settings, **{"tiler.short_side_px": 128, "tiler.crop_px": 0, "tiler.stride_px": 0})
    prediction = predictor.predict(np.zeros((40, 60, 3), np.uint8), "brick, sky")
    assert prediction.metadata["resized_hw"] == (64, 96)  # 128 px as published are 64 px on a tower of 112 px
    assert prediction.metadata["tiles"] == 1
    assert predictor.info.method == "sclip"
    assert load("naclip", dtype="bfloat16", **settings).info.dtype == "bfloat16"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"name": "masclip"}, FileNotFoundError, "maskclip"),
        ({"arch": "ViT-B-61", "weights": "random"}, ValueError, "ViT-B-16"),
        ({"weights": "ViT-B-16/opnai"}, ValueError, "ViT-B-16/openai"),
        ({"weights": "no/such/file.pt"}, FileNotFoundError, r"no/such/file\.pt"),
        ({"device": "gpu"}, ValueError, "device"),
        ({"dtype": "float61"}, ValueError, "float16"),
        ({"templatse": "plain"}, ValueError, "templates"),
    ],
)
def test_bad_options_name_what_is_near(options: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        load(**options)


def test_missing_weights_say_what_where_from_and_where_to(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OVPERC_OFFLINE", "1")
    monkeypatch.setenv("OVPERC_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(FileNotFoundError) as caught:
        load(weights="ViT-L-14/openai")
    message = str(caught.value)
    assert "https://" in message
    assert str(tmp_path / "home") in message
    assert "ViT-L-14" in message


def test_words_the_weights_never_met_are_told(image: np.ndarray) -> None:
    predictor = make_predictor()
    tower = predictor.text_encoder.text_tower
    with torch.no_grad():
        tower.tower.token_embedding.weight[tower.tokenizer.encode("cat")] = 0
    assert unseen_words(tower, ["brick", "black cat", "sky"]) == ("black cat",)
    with pytest.warns(UnseenWordsWarning, match="'cat'"):
        predictor.predict(image, "brick, cat")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        predictor.predict(image, "brick, sky")
