"""Every rule of the table against the library it names, in eager form and as a graph; the weights' own rule."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import onnx
import pytest
import torch
from onnxruntime import InferenceSession
from PIL import Image
from torch.testing import assert_close

from helpers.tiny_models import tiny_clip, tiny_open_clip
from ovperc.backbones.loading import wrap_open_clip
from ovperc.export.builder import GraphBuilder, finish_model
from ovperc.export.parts import ExportError
from ovperc.export.pixel_ops import RESIZE_OPS, AxisPlan, normalise, resize_pixels
from ovperc.export.segmentation_graph import trace_towers
from ovperc.tasks.anomaly.load import build_predictor
from ovperc.tasks.detection.method import DetectionMethod
from ovperc.tasks.methods import load_method
from ovperc.tasks.segmentation.build import build_segmenter
from ovperc.tiling import Preprocess, Tiler, normalize, resize_image
from ovperc.tiling.preprocess import RESIZE_RULES, check_resize, choose_resize, resize_mask
from ovperc.tiling.square import SquareTiler
from ovperc.training.feature_cache import AnomalyFeatures
from ovperc.weights.checkpoint import processor_preprocess

SIZES = [((37, 53), (20, 91)), ((130, 70), (48, 48)), ((9, 200), (9, 64))]


def _image(size_hw: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*size_hw, 3), dtype=np.uint8)


def _by_library(image: np.ndarray, size_hw: tuple[int, int], rule: str) -> np.ndarray:
    if rule == "opencv":
        return cv2.resize(image, size_hw[::-1], interpolation=cv2.INTER_LINEAR)
    kernel = getattr(Image.Resampling, rule.upper())
    across = Image.fromarray(image).resize((size_hw[1], image.shape[0]), kernel)
    return np.asarray(across.resize(size_hw[::-1], kernel))


@pytest.mark.parametrize("rule", ["bilinear", "bicubic", "lanczos"])
def test_one_axis_and_growing_rows_are_pillows_own_resize(rule: str):
    """Where Pillow has no choice of order."""
    image = _image((37, 53))
    for size_hw in ((37, 20), (80, 53), (90, 31)):
        whole = Image.fromarray(image).resize(size_hw[::-1], getattr(Image.Resampling, rule.upper()))
        assert np.array_equal(resize_image(image, size_hw, rule), np.asarray(whole))


def _preprocess(**changes) -> Preprocess:
    return dataclasses.replace(tiny_clip("vit").preprocess, **changes)


@pytest.mark.parametrize("rule", RESIZE_RULES)
@pytest.mark.parametrize(("old", "new"), SIZES)
def test_rules_are_those_of_their_libraries(rule: str, old, new):
    image = _image(old)
    assert np.array_equal(resize_image(image, new, rule), _by_library(image, new, rule))
    assert resize_image(image, old, rule) is image


@pytest.mark.parametrize("rule", RESIZE_OPS)
@pytest.mark.parametrize(("old", "new"), SIZES)
def test_graph_gives_the_same_tensor(rule: str, old, new):
    graph, preprocess, image = GraphBuilder(), _preprocess(), _image(old)
    axes = [AxisPlan(a, b, b, [0], 0, 0) for a, b in zip(old, new, strict=True)]
    pixels = normalise(graph, resize_pixels(graph, "image", *axes, rule), preprocess.mean, preprocess.std)
    model = finish_model(graph, "p", [("image", 2, (1, *old, 3))], [(pixels, onnx.TensorProto.FLOAT, None)])
    session = InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"image": image[None]})
    assert_close(torch.from_numpy(found), preprocess.apply(image, new, rule), atol=1e-6, rtol=0)


def test_normalize_matches_the_formula():
    image = _image((7, 9))
    mean, std = (0.48, 0.45, 0.40), (0.26, 0.27, 0.28)
    expected = ((image / 255.0 - np.array(mean)) / np.array(std)).transpose(2, 0, 1)[None]
    np.testing.assert_allclose(normalize(image, mean, std).numpy(), expected, atol=1e-5)
    assert torch.equal(normalize(torch.from_numpy(image), mean, std), normalize(image[:, :, :], mean, std))
    with pytest.raises(ValueError, match="uint8 RGB"):
        normalize(image[..., 0], mean, std)


def test_wrong_pixels_and_rules_are_refused():
    image = _image((37, 53))
    with pytest.raises(TypeError, match="uint8"):
        resize_image(image.astype(np.float32), (5, 5))
    with pytest.raises(ValueError, match="cannot resize"):
        resize_image(image, (0, 5))
    for check in (check_resize, lambda rule: resize_image(image, (5, 5), rule)):
        with pytest.raises(ValueError, match="bicubic"):
            check("bicubik")
    with pytest.raises(ValueError, match="unknown resize"):
        DetectionMethod(name="x", tiler={"type": "Tiler"}, resize="area")


def test_masks_are_resized_as_in_published_evaluations():
    mask = np.zeros((40, 60), bool)
    mask[10:20, 30:50] = True
    assert resize_mask(mask, (20, 30)).sum() == 50
    assert resize_mask(mask, (40, 60)).dtype == bool


def test_weights_steer_the_rule_and_the_mode():
    square, aspect = SquareTiler(48), Tiler(short_side_px=48)
    assert choose_resize("weights", _preprocess(interpolation="bilinear"), aspect) == "bilinear"
    assert choose_resize("weights", _preprocess(interpolation="random"), aspect) == "bicubic"
    assert choose_resize("weights", _preprocess(resize_mode="squash"), square) == "bicubic"
    assert choose_resize("opencv", _preprocess(resize_mode="squash"), aspect) == "opencv"
    for mode, tiler in (("squash", aspect), ("shortest", square), ("longest", aspect), ("shortest", Tiler())):
        with pytest.raises(ValueError, match="resize_mode"):
            choose_resize("weights", _preprocess(resize_mode=mode), tiler)


def test_checkpoints_say_how_their_images_were_resized():
    wide = {"preprocessor_config.json": {"size": {"height": 224, "width": 224}, "resample": 2}}
    assert processor_preprocess(wide) == {"interpolation": "bilinear", "resize_mode": "squash"}
    assert processor_preprocess({"preprocessor_config.json": {"size": {"shortest_edge": 224}}}) == {}
    clip = wrap_open_clip(tiny_open_clip("siglip"), arch="ViT-B-16-SigLIP", source="random")
    assert clip.preprocess.resize_mode == "squash"


@pytest.mark.parametrize(("rule", "wanted"), [("weights", "bilinear"), ("bicubic", "bicubic"), (None, "opencv")])
def test_segmentation_resizes_by_its_field(rule: str | None, wanted: str):
    method = load_method("sclip", {} if rule is None else {"resize": rule})
    tower = tiny_clip("vit", pos_embed=method.pos_embed)
    clip = dataclasses.replace(tower, preprocess=_preprocess(interpolation="bilinear"))
    segmenter = build_segmenter(method, clip, tiler={"type": "Tiler", "short_side_px": 48})
    image = _image((70, 96))
    tiles = []
    handle = clip.backbone.tower.conv1.register_forward_pre_hook(lambda module, inputs: tiles.append(inputs[0]))
    segmenter.encode(image)
    handle.remove()
    assert_close(tiles[0], clip.preprocess.apply(image, (48, 66), wanted)[..., :64], atol=0, rtol=0)


def test_anomaly_and_its_training_resize_by_the_same_field():
    clip = dataclasses.replace(tiny_clip("vit"), preprocess=_preprocess(interpolation="bilinear", resize_mode="squash"))
    method = load_method("clip_baseline", {"resize": "weights", "tiler.size_px": 48})
    assert build_predictor(method, clip).method.resize == "bilinear"
    with pytest.raises(ValueError, match="squash"):
        build_predictor(method, tiny_clip("vit"))
    with pytest.raises(ValueError, match="squash"):
        AnomalyFeatures([], tiny_clip("vit"), ["-1.out"], 48, resize="weights")


def test_rules_without_a_graph_are_refused_before_the_trace():
    segmenter = build_segmenter(load_method("sclip", {"resize": "lanczos"}), tiny_clip("vit", pos_embed="scale"))
    with pytest.raises(ExportError, match="opencv, bilinear, bicubic"):
        trace_towers(segmenter)
