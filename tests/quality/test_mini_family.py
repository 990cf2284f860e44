"""The shipped family: it loads by name, fits together, and does what the documentation says of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors import safe_open

import ovperc
from ovperc.backbones.dino import load_dino
from ovperc.backbones.loading import load_clip
from ovperc.backbones.sam import load_sam
from ovperc.backbones.sam_prompts import Prompts, SamPrompter
from ovperc.data.world.benchmark import build_benchmark
from ovperc.evaluation.metrics.affinity import affinity_auc, patch_labels
from ovperc.readout.base import resize_tokens
from ovperc.tiling import normalize
from ovperc.weights.catalogue import get_entry, resolve_weights

MINIS = ("clip-mini", "dino-mini", "sam-mini", "dinoiser-mini")


def test_the_family_is_small_and_says_how_it_was_made():
    files = [resolve_weights(name) for name in MINIS]
    assert sum(file.stat().st_size for file in files) <= 24e6
    for name, file in zip(MINIS[1:], files[1:], strict=True):
        with safe_open(file, "pt") as opened:
            made = opened.metadata()
        assert made["command"].startswith("python tools/train.py configs/train/")
        assert made["licence"] == get_entry(name).licence
        assert made["seed"] == "0"
        assert file.with_suffix(".log").is_file()


@torch.inference_mode()
def test_dino_mini_tells_regions_apart_better_than_clip_mini():
    scenes, dino, clip = build_benchmark("world-base", 8), load_dino(), load_clip()
    found: dict[str, list[float]] = {"dino": [], "clip": []}
    for index in range(8):
        scene = scenes.scene(index)
        regions = np.where(scene.instances > 0, scene.instances.astype(int) + 100, scene.materials.astype(int))
        labels = patch_labels(regions, (14, 14))
        for name, model in (("dino", dino), ("clip", clip)):
            pixels = normalize(scene.image, model.preprocess.mean, model.preprocess.std)
            features = model.backbone.forward_dense(pixels, ["-1.final"])
            patches = resize_tokens(features.patches("-1.final"), features.grid_hw, (14, 14))[0]
            score = affinity_auc(patches, labels)
            found[name] += [] if score is None else [score]
    assert np.mean(found["dino"]) > 0.98
    assert np.mean(found["dino"]) > np.mean(found["clip"]) + 0.01


def test_sam_mini_finds_objects_from_points_and_boxes():
    prompter, scenes = SamPrompter(load_sam()), build_benchmark("world-base", 12)
    overlaps: dict[str, list[float]] = {"point": [], "box": []}
    rng = np.random.default_rng(0)
    for index in range(12):
        scene = scenes.scene(index)
        seen = prompter.embed(scene.image)
        for number, item in enumerate(scene.objects):
            mask = scene.instances == number + 1
            if item.area_px < 60:
                continue
            ys, xs = np.nonzero(mask)
            pick = int(rng.integers(len(ys)))
            point = torch.tensor([[[float(xs[pick]), float(ys[pick])]]])
            x0, y0, x1, y1 = item.box
            prompts = {
                "point": Prompts(points=point, labels=torch.ones(1, 1)),
                "box": Prompts(boxes=torch.tensor([[x0, y0, x1 - 1, y1 - 1]]).float()),
            }
            for kind, prompt in prompts.items():
                answer = prompter.upscale(seen, prompter.decode(seen, prompt)[0])[0, 0].numpy() > 0
                overlaps[kind].append((answer & mask).sum() / (answer | mask).sum())
    assert np.mean(overlaps["point"]) > 0.7
    assert np.mean(overlaps["box"]) > 0.8


@pytest.mark.parametrize("method", ["proxyclip", "proxyclip_pool", "proxyclip_sam", "clip_dinoiser", "trident_sam"])
def test_methods_run_on_the_family_by_name(method: str):
    predictor = ovperc.load(method)
    image = build_benchmark("world-base", 1)[0].image
    result = predictor.predict(image, ["grass", "striped red object", "brick"])
    assert result.labels.shape == image.shape[:2]
    if method == "trident_sam":
        assert "refined_regions" in result.metadata
