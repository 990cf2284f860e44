"""Checkpoint files that lie: circles, bombs, foreign objects and random damage end in CheckpointError, quickly."""

import argparse
import io
import json
import os
import pickle
import random
import sys
import types
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from helpers.checkpoint_files import save_torchscript
from ovperc.weights.errors import CheckpointError, MissingWeightsError
from ovperc.weights.reading import read_checkpoint

TABLE = {"proj": torch.arange(6.0).reshape(2, 3), "layers.0.weight": torch.ones(4, 2), "count": torch.tensor(7)}


@pytest.mark.parametrize("legacy", [False, True])
def test_table_that_contains_itself(tmp_path, legacy):
    table = {"proj": torch.zeros(2)}
    table["state_dict"] = table
    torch.save(table, tmp_path / "circle.pt", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CheckpointError, match="in a circle"):
        read_checkpoint(tmp_path / "circle.pt")


class _Module:
    pass


def _save_script(root, path, monkeypatch):
    """An archive whose ``data.pkl`` holds TorchScript objects in an arrangement that no compiler writes."""
    monkeypatch.setitem(sys.modules, "__torch__", types.SimpleNamespace(_Module=_Module))
    monkeypatch.setattr(_Module, "__module__", "__torch__")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("script/data.pkl", pickle.dumps(root, protocol=2))
        archive.writestr("script/constants.pkl", pickle.dumps(()))


@pytest.mark.parametrize("shape", ["circle", "chain", "doubling"])
def test_script_modules_without_end(tmp_path, monkeypatch, shape):
    root = node = _Module()
    for _ in range({"circle": 1, "chain": 200, "doubling": 60}[shape]):
        node.a = _Module()
        node.b = node.a if shape == "doubling" else None
        node = node.a
    if shape == "circle":
        node.a = root
    _save_script(root, tmp_path / "script.pt", monkeypatch)
    with pytest.raises(CheckpointError, match=r"in a circle|holds no tensors"):
        read_checkpoint(tmp_path / "script.pt")


@pytest.mark.parametrize("name", ["archive/data.pkl", "archive/data/0", "big.npy"])
def test_members_that_inflate_are_not_unpacked(tmp_path, name):
    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        if name != "archive/data.pkl" and not name.endswith(".npy"):
            archive.writestr("archive/data.pkl", b"")
        with archive.open(name, "w", force_zip64=True) as member:
            for _ in range(64):
                member.write(bytes(1 << 20))
    with pytest.raises(CheckpointError, match=r"compressed member .* not unpacked"):
        read_checkpoint(path)


def test_members_larger_than_the_file(tmp_path):
    """Entries of the directory may all point at the same bytes."""
    torch.save(TABLE, tmp_path / "plain.pt")
    content = bytearray((tmp_path / "plain.pt").read_bytes())
    entry = content.rindex(b"PK\x01\x02", 0, content.rindex(b"/data/0"))
    content[entry + 20 : entry + 28] = (1 << 30).to_bytes(4, "little") * 2
    (tmp_path / "bomb.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        read_checkpoint(tmp_path / "bomb.pt")


@pytest.mark.parametrize("legacy", [False, True])
def test_tensors_larger_than_the_file(tmp_path, legacy):
    table = {"proj": torch.zeros(1).expand(1 << 20, 1 << 20)}
    torch.save(table, tmp_path / "wide.pt", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CheckpointError, match=r"\(1048576, 1048576\)"):
        read_checkpoint(tmp_path / "wide.pt")


class _Attack:
    def __reduce__(self):
        return (os.system, ("touch attacked",))


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
def test_foreign_objects_are_named_and_never_run(tmp_path, monkeypatch, form):
    monkeypatch.chdir(tmp_path)
    table = {"state_dict": dict(TABLE), "extra": _Attack()}
    if form == "pickle":
        (tmp_path / "bad.pt").write_bytes(pickle.dumps(table["extra"]))
    else:
        torch.save(table, tmp_path / "bad.pt", _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(CheckpointError) as error:
        read_checkpoint(tmp_path / "bad.pt")
    assert "damaged" not in str(error.value)
    assert "posix.system" in str(error.value) or form == "pickle"
    assert not (tmp_path / "attacked").exists()


def test_bookkeeping_beside_the_tensors_is_left_out(tmp_path):
    extra = {"lr": np.float64(0.1), "history": np.zeros(3), "args": argparse.Namespace(lr=1), "out": tmp_path}
    torch.save({"state_dict": TABLE, **extra}, tmp_path / "run.pt")
    torch.save({**TABLE, **extra}, tmp_path / "flat.pt")
    for name in ("run.pt", "flat.pt"):
        read = read_checkpoint(tmp_path / name)
        assert read.keys() == TABLE.keys() and all(torch.equal(read[key], TABLE[key]) for key in TABLE)


@pytest.mark.parametrize("content", [b"\xef\xbb\xbf<html>", b'\xef\xbb\xbf{"error": "not found"}', b'{"error": 404}'])
def test_error_pages(tmp_path, content):
    (tmp_path / "page.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"web page|JSON text"):
        read_checkpoint(tmp_path / "page.pt")


def _write(form: str, path) -> None:
    if form == "safetensors":
        save_file(TABLE, path)
    elif form == "script":
        save_torchscript(TABLE, path)
    elif form == "numpy":
        buffer = io.BytesIO()
        np.savez(buffer, **{name: value.numpy() for name, value in TABLE.items()})
        path.write_bytes(buffer.getvalue())
    else:
        torch.save(TABLE, path, _use_new_zipfile_serialization=form == "zip")


def _mutate(content: bytes, draw: random.Random) -> bytes:
    damaged = bytearray(content)
    for _ in range(draw.choice((1, 1, 3, 20))):
        place = draw.randrange(len(damaged))
        action = draw.randrange(4)
        if action == 0:
            damaged[place] ^= 1 << draw.randrange(8)
        elif action == 1:
            damaged[place : place + 8] = draw.randbytes(8)
        elif action == 2:
            del damaged[place : place + draw.randrange(1, 40)]
        else:
            damaged[place:place] = draw.randbytes(draw.randrange(1, 9))
    return bytes(damaged) or b"x"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors", "script", "numpy"])
def test_random_damage(tmp_path, form):
    """Either a table of tensors or CheckpointError, whatever bytes are changed."""
    _write(form, tmp_path / "whole")
    content, draw = (tmp_path / "whole").read_bytes(), random.Random(form)
    for _ in range(150):
        (tmp_path / "cut").write_bytes(_mutate(content, draw))
        try:
            table = read_checkpoint(tmp_path / "cut")
        except CheckpointError as error:
            assert str(tmp_path / "cut") in str(error)
        else:
            assert all(isinstance(value, torch.Tensor) for value in table.values())


def test_safetensors_header_without_end(tmp_path):
    header = json.dumps({"proj": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}).encode()
    (tmp_path / "long.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(16))
    with pytest.raises(CheckpointError, match="truncated or damaged"):
        read_checkpoint(tmp_path / "long.safetensors")


@pytest.fixture
def _offline(tmp_path, monkeypatch):
    monkeypatch.setenv("OVPERC_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("OVPERC_OFFLINE", "1")


@pytest.mark.usefixtures("_offline")
@pytest.mark.parametrize("kind", ["clip", "siglip", "dinov2", "sam"])
def test_missing_tensors_and_foreign_configs(tmp_path, kind):
    """Whatever tensor is gone, and whatever stands in the config, the error is one of weights and names the file."""
    load, reference = _tiny(kind)
    reference.config.save_pretrained(tmp_path)
    state, draw = reference.state_dict(), random.Random(kind)
    needed = sorted(name for name in state if not name.endswith(_UNUSED))
    path = tmp_path / "model.safetensors"
    for name in draw.sample(needed, 12):
        save_file({key: value.clone() for key, value in state.items() if key != name}, path)
        with pytest.raises((CheckpointError, MissingWeightsError)):
            load(path)
    save_file({key: value.clone() for key, value in state.items()}, path)
    for config in ({"vision_config": None}, {"vision_config": {"num_attention_heads": "x"}, "num_attention_heads": []}):
        (tmp_path / "config.json").write_text(json.dumps(config))
        try:
            load(path)
        except (CheckpointError, MissingWeightsError) as error:
            assert str(path) in str(error)


_UNUSED = ("mask_token", "prompt_encoder.shared_embedding.positional_embedding", "logit_bias")


def _tiny(kind):
    """A loader, and transformers' class at a small size."""
    from ovperc.backbones.dino import load_dino
    from ovperc.backbones.loading import load_clip
    from ovperc.backbones.sam import load_sam

    transformers = pytest.importorskip("transformers")
    tower = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    both = {**tower, "intermediate_size": 64}
    vision = {**both, "image_size": 16, "patch_size": 8}
    if kind == "clip":
        config = transformers.CLIPConfig(text_config=both, vision_config=vision, projection_dim=24)
        return (lambda path: load_clip(None, path)), transformers.CLIPModel(config)
    if kind == "siglip":
        config = transformers.SiglipConfig(text_config={**both, "vocab_size": 50}, vision_config=vision)
        return (lambda path: load_clip(None, path)), transformers.SiglipModel(config)
    if kind == "dinov2":
        return load_dino, transformers.Dinov2Model(transformers.Dinov2Config(**tower, image_size=16, patch_size=8))
    encoder = {**tower, "image_size": 64, "patch_size": 8, "output_channels": 32, "global_attn_indexes": [0]}
    config = transformers.SamConfig(
        vision_config={**encoder, "window_size": 4, "num_pos_feats": 16},
        prompt_encoder_config={"hidden_size": 32, "image_size": 64, "patch_size": 8},
        mask_decoder_config={"hidden_size": 32, "num_attention_heads": 1, "mlp_dim": 32},
    )
    return load_sam, transformers.SamModel(config)
