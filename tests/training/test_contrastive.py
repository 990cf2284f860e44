"""clip-mini in training and on disk."""

from __future__ import annotations

import json

import open_clip
import pytest
import torch
from mmengine.config import Config
from safetensors import safe_open

from ovperc.backbones import mini_archs
from ovperc.backbones.mini_archs import build_clip_mini, save_packed
from ovperc.data.world.captions import caption_words
from ovperc.data.world.contrastive import CompactTokenizer, WorldCaptions
from ovperc.data.world.vocabulary import COLOURS
from ovperc.training.contrastive import ContrastiveDualEncoder
from ovperc.training.muon import MuonAdamW, MuonConstructor
from ovperc.weights.token_table import TOKEN_ROWS, TOKEN_TABLE

STAGE = {"crops": 6, "scenes": 2, "scene_every": 4}
SMALL = {"length": 8, "stages": [STAGE], "style": {"bank_tiles": 1, "bank_seed": 3}}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return ContrastiveDualEncoder()


@pytest.fixture(scope="module")
def world():
    return WorldCaptions(**SMALL)


def test_batches_depend_on_seed_and_index_only(world):
    batch = world[4]
    world[5]
    again = world[4]
    assert batch.texts == again.texts
    assert all(torch.equal(a, b) for a, b in zip(batch.images, again.images, strict=True))
    assert batch.texts != WorldCaptions(**{**SMALL, "seed": 1})[4].texts
    assert [tuple(group.shape) for group in batch.images] == [(6, 3, 48, 48), (2, 3, 112, 112)]
    assert batch.true[torch.arange(16), batch.owners].all()
    assert len(world[1].images) == 1, "whole scenes come in every fourth batch"


def test_stages_change_what_batches_are_made_of():
    late = {"begin": 6, "crops": 8, "scenes": 1, "few_looks": 1.0, "grey_share": 0.5, "grey_ground": 0.5}
    staged = WorldCaptions(**{**SMALL, "stages": [STAGE, late]})
    assert staged[4].texts == WorldCaptions(**SMALL)[4].texts
    batch = staged[7]
    assert [len(group) for group in batch.images] == [8, 1]
    named = {word for text in batch.texts for word in text.replace(",", " ").replace(".", " ").split()} & set(COLOURS)
    assert len(named) <= 2
    with pytest.raises(ValueError, match="stages must begin at step 0"):
        WorldCaptions(**{**SMALL, "stages": [late]})


def test_compact_tokens_are_clips_tokens_renumbered(world):
    tokenizer = world.tokenizer
    full = open_clip.get_tokenizer("ViT-B-32")
    batch = world[4]
    reference = full(list(batch.texts))[:, : batch.tokens.shape[1]]
    used = reference != 0
    assert torch.equal(tokenizer.ids[batch.tokens][used], reference[used])
    assert torch.equal(batch.tokens.argmax(-1), reference.argmax(-1))
    every = {int(token) for words in caption_words() for token in full(words.replace("{}", " "))[0] if token}
    assert every <= set(tokenizer.ids.tolist())


def test_one_step_lowers_the_loss_of_its_batch(model, world):
    config = Config.fromfile("configs/train/clip_mini.py")
    settings = {key: value for key, value in config.optim_wrapper.items() if key != "constructor"}
    wrapper = MuonConstructor(settings)(model)
    assert isinstance(wrapper.optimizer, MuonAdamW)
    assert all(parameter.ndim == 2 for parameter in wrapper.optimizer.param_groups[0]["params"])
    model.train()
    batch = world[4]
    losses = [model.train_step(batch, wrapper)["loss"].item() for _ in range(4)]
    assert losses[-1] < losses[0]
    assert set(model.train_step(batch, wrapper)) == {"loss", "accuracy", "scale"}
    restored = MuonConstructor(settings)(model)
    restored.optimizer.load_state_dict(wrapper.optimizer.state_dict())
    restored.optimizer.step()


def test_training_forward_equals_the_towers(model, world):
    model.eval()
    batch = world[4]
    images, texts = model(batch, mode="tensor")
    full = torch.zeros(len(batch.tokens), 77, dtype=torch.long)
    full[:, : batch.tokens.shape[1]] = batch.tokens
    pixels = (batch.images[1].float() - model.mean) / model.std
    with torch.no_grad():
        torch.testing.assert_close(texts, model.clip.encode_text(full, normalize=True), atol=1e-5, rtol=0)
        torch.testing.assert_close(images[6:], model.clip.encode_image(pixels, normalize=True), atol=1e-5, rtol=0)


def test_image_embedding_is_the_mean_of_the_projected_tokens(model):
    tower = model.clip.visual.eval()
    pixels = torch.randn(2, 3, 112, 64)
    with torch.no_grad():
        tokens = tower.head(tower.trunk.forward_features(pixels))
        torch.testing.assert_close(tower(pixels), tokens.mean(1), atol=1e-5, rtol=1e-4)
    assert tokens.shape[1] == 14 * 8


def test_packed_file_gives_the_model_back(model, tmp_path):
    tokenizer = CompactTokenizer()
    path = tmp_path / "mini.safetensors"
    state = model.clip.state_dict()
    save_packed(path, state, tokenizer.ids, seed=3, command="train it", dtype=torch.float32)
    assert [item.name for item in tmp_path.iterdir()] == ["mini.safetensors"]
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    assert metadata["arch"] == "clip-mini"
    assert metadata["command"] == "train it"
    assert tuple(json.loads(metadata["mean"])) == mini_archs.MEAN
    loaded = build_clip_mini(path)
    for name, value in loaded.state_dict().items():
        expected = value[tokenizer.ids] if name == TOKEN_TABLE else value
        torch.testing.assert_close(state[name].contiguous(), expected, msg=name)
    unused = torch.ones(49408, dtype=torch.bool)
    unused[tokenizer.ids] = False
    assert not loaded.state_dict()[TOKEN_TABLE][unused].any()
    texts = ["a photo of a striped red star on grass", "gravel"]
    compact, full = tokenizer(texts), open_clip.get_tokenizer("ViT-B-32")(texts)
    with torch.no_grad():
        torch.testing.assert_close(
            model.encode_texts(compact), loaded.encode_text(full, normalize=True), atol=1e-5, rtol=0
        )


def test_packing_takes_a_whole_table_and_refuses_others(model):
    ids = CompactTokenizer().ids
    state = dict(model.clip.state_dict())
    rows = state[TOKEN_TABLE]
    whole = torch.zeros(49408, rows.shape[1]).index_copy_(0, ids, rows)
    packed = mini_archs.pack_state_dict({**state, TOKEN_TABLE: whole}, ids)
    assert packed[TOKEN_ROWS].dtype == torch.float16
    torch.testing.assert_close(packed[TOKEN_ROWS].float(), rows, atol=1e-2, rtol=1e-3)
    with pytest.raises(ValueError, match="token table has"):
        mini_archs.pack_state_dict({**state, TOKEN_TABLE: rows[:5]}, ids)
    with pytest.raises(ValueError, match="no weights of its own"):
        mini_archs.vit_mini_stem_112(pretrained=True)
