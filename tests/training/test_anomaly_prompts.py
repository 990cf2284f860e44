"""Cached features, the losses of training on them, and runs that were cut short."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from safetensors.torch import load_file
from torch.testing import assert_close

from helpers.tiny_models import EMBED_DIM, WIDTH, tiny_clip
from ovperc.data.world.anomaly import WorldAnomaly
from ovperc.tasks.anomaly.april_gan import LinearAdapters
from ovperc.tasks.anomaly.learned_prompts import LearnedPrompts
from ovperc.training.anomaly_prompts import AnomalyAdapterTraining, AnomalyPromptTraining
from ovperc.training.feature_cache import AnomalyFeatures
from ovperc.training.losses.anomaly import dice_loss, focal_loss
from ovperc.training.train import train
from ovperc.weights.reading import CheckpointError

SIDE = {"taps": ("1.dual:2", "-1.dual:2"), "pooled": "-1.pooled_bare"}
MAIN = {"taps": ("0.out", "2.out")}


def _images() -> WorldAnomaly:
    return WorldAnomaly("train", good=1, per_kind=1, size_px=48, categories=["sand", "star"])


def _features(taps=SIDE, **options) -> AnomalyFeatures:
    return AnomalyFeatures(_images(), tiny_clip("vit"), size_px=48, batch_size=4, **taps, **options)


def test_batches_hold_what_the_tower_says():
    features, images, tower = _features(), _images(), tiny_clip("vit").backbone
    count = len(images)
    assert len(features) == -(-count // 4) and features.grid_hw == (6, 6)
    seen = [row for index in range(len(features)) for row in features._rows(index)][:count]
    assert sorted(seen) == list(range(count))  # each image once an epoch
    batch, rows = features[1], features._rows(1)
    sample = images[rows[2]]
    assert torch.equal(batch.masks[2], torch.from_numpy(sample.mask))
    assert bool(batch.anomalous[2]) == sample.record.anomalous
    assert batch.words[2] == images.words[sample.record.category]
    pixels = torch.from_numpy(sample.image).permute(2, 0, 1)[None].float() / 255
    mean, std = (
        torch.tensor(value).view(3, 1, 1) for value in (tiny_clip().preprocess.mean, tiny_clip().preprocess.std)
    )
    with torch.no_grad():
        found = tower.forward_dense((pixels - mean) / std, ["-1.dual:2", "-1.pooled_bare"])
        unit = F.normalize(tower.project(found["-1.dual:2"])[0], dim=-1)
    assert_close(batch.patches[1][2].float(), unit, atol=1e-3, rtol=1e-3)
    assert_close(batch.pooled[2], found["-1.pooled_bare"][0], atol=1e-4, rtol=1e-4)


def test_cache_files_belong_to_their_images_and_settings(tmp_path):
    file = tmp_path / "features.npz"
    first = _features(cache_file=file)
    second = _features(cache_file=file)
    assert torch.equal(first[0].patches[0], second[0].patches[0]) and first.words == second.words
    with pytest.raises(CheckpointError, match="delete the file"):
        _features(MAIN, cache_file=file)
    with pytest.raises(ValueError, match=r"\.npz"):
        _features(cache_file=tmp_path / "features.pt")


def test_a_mask_of_another_size_than_its_image_is_refused():
    class Odd(WorldAnomaly):
        def __getitem__(self, index):
            sample = super().__getitem__(index)
            return type(sample)(sample.image, sample.mask[1:], sample.record)

    with pytest.raises(ValueError, match="must have one size"):
        AnomalyFeatures(Odd("train", good=1, per_kind=0, size_px=48), tiny_clip("vit"), **SIDE, size_px=48)


def test_prompt_losses_by_hand():
    torch.manual_seed(0)
    clip = tiny_clip("vit")
    model, batch = AnomalyPromptTraining(clip, contexts=4, deep_length=2, tau=0.1, map_weight=3.0), _features()[0]
    losses = model(batch)
    with torch.no_grad():
        both = model.prompts.encode(clip.text).T / 0.1
        maps = []
        for patches in batch.patches:
            chance = (patches.float() @ both).softmax(-1)[..., 1].view(4, 1, 6, 6)
            maps.append(F.interpolate(chance, (48, 48), mode="bilinear")[:, 0])
        y = batch.masks.float()
        wanted = sum(focal_loss(p, y) + dice_loss(p, y) + dice_loss(1 - p, 1 - y) for p in maps)
        image = F.cross_entropy(F.normalize(batch.pooled, dim=-1) @ both, batch.anomalous.long())
    assert_close(losses["loss_map"], 3.0 * wanted, atol=1e-4, rtol=1e-4)
    assert_close(losses["loss_image"], image, atol=1e-5, rtol=1e-5)
    sum(losses.values()).backward()
    assert all(value.grad is not None for value in model.parameters())
    assert {name.split(".")[0] for name in model.state_dict()} == {"prompts"}
    assert not any(value.requires_grad for value in clip.text.parameters())


def test_adapter_losses_by_hand():
    torch.manual_seed(0)
    model, batch = AnomalyAdapterTraining(tiny_clip("vit"), taps=2, scale=20.0), _features(MAIN)[0]
    wanted = 0.0
    with torch.no_grad():
        for layer, patches in zip(model.adapters.fc, batch.patches, strict=True):
            tokens = F.normalize(layer(patches.float()), dim=-1)
            margins = [20 * row @ model._texts(word).direction for row, word in zip(tokens, batch.words, strict=True)]
            planes = torch.stack(margins).view(4, 1, 6, 6)
            chance = F.interpolate(planes, (48, 48), mode="bilinear", align_corners=True)[:, 0].sigmoid()
            wanted = wanted + focal_loss(chance, batch.masks) + dice_loss(chance, batch.masks)
    assert_close(model(batch)["loss_map"], wanted, atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="mode"):
        model(batch, mode="tensor")


def _config(kind: str, work_dir, iterations: int) -> Config:
    """A shipped config on few images for few steps."""
    from ovperc.core.config_files import find_config

    config = Config.fromfile(find_config(kind, "train"))
    images = {"good": 1, "per_kind": 1, "styles": 1, "categories": ["sand"]}
    config.merge_from_dict(
        {
            "work_dir": str(work_dir),
            "train_cfg.max_iters": iterations,
            "default_hooks.checkpoint.interval": 2,
            "default_hooks.logger.interval": 1,
            "train_dataloader.dataset.batch_size": 4,
            **{f"train_dataloader.dataset.images.{name}": value for name, value in images.items()},
        }
    )
    return config


@pytest.mark.parametrize(("kind", "part"), [("anomalyclip_mini", LearnedPrompts), ("april_gan_mini", LinearAdapters)])
def test_resumed_runs_equal_unbroken_ones_and_export_loads(tmp_path, kind, part):
    name = kind.replace("_", "-")
    train(_config(kind, tmp_path / "whole", 4))
    train(_config(kind, tmp_path / "broken", 2))
    train(_config(kind, tmp_path / "broken", 4), resume=True)
    whole, broken = (load_file(tmp_path / run / f"{name}.safetensors") for run in ("whole", "broken"))
    assert whole.keys() == broken.keys()
    for key in whole:
        assert_close(whole[key], broken[key], atol=1e-5, rtol=1e-3)  # rounding of float16
    loaded = part.from_file(tmp_path / "whole" / f"{name}.safetensors")
    assert set(loaded.state_dict()) == set(whole)


def test_shapes_of_trained_parts():
    adapters = AnomalyAdapterTraining(tiny_clip("vit"), taps=3).adapters
    assert adapters.fc[2].weight.shape == (EMBED_DIM, WIDTH)
    assert len(AnomalyPromptTraining(tiny_clip("vit"), depth=9).prompts.compound_prompts_text) == 1
