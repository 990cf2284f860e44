"""Checkpoint files of every format, whole and broken."""

import json
import pickle
import zipfile

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from helpers.checkpoint_files import save_torchscript
from ovperc.weights.reading import CheckpointError, read_checkpoint

TABLE = {
    "visual.proj": torch.arange(6.0).reshape(2, 3),
    "visual.layers.0.weight": torch.randn(4, 2, generator=torch.Generator().manual_seed(0)),
    "count": torch.tensor(7),
}


def _assert_same(read, expected=TABLE):
    assert read.keys() == expected.keys()
    assert all(torch.equal(read[name], expected[name]) for name in expected)


@pytest.mark.parametrize("nest", [None, "state_dict", "model", "model_state_dict"])
@pytest.mark.parametrize("legacy", [False, True])
def test_torch_files(tmp_path, nest, legacy):
    table = TABLE if nest is None else {"epoch": 3, "name": "run", nest: TABLE}
    torch.save(table, tmp_path / "weights.pt", _use_new_zipfile_serialization=not legacy)
    _assert_same(read_checkpoint(tmp_path / "weights.pt"))


def test_module_prefix_and_other_values(tmp_path):
    table = {f"module.{name}": value for name, value in TABLE.items()}
    torch.save({"state_dict": table, "optimizer": {"state": {}}}, tmp_path / "epoch_3.pt")
    _assert_same(read_checkpoint(tmp_path / "epoch_3.pt"))


def test_safetensors_under_any_name(tmp_path):
    save_file(TABLE, tmp_path / "weights.bin")
    _assert_same(read_checkpoint(tmp_path / "weights.bin"))


def test_torchscript_archive_is_read_not_run(tmp_path):
    half = {name: value.half() if value.is_floating_point() else value for name, value in TABLE.items()}
    half["shared.a"] = half["visual.proj"].T.contiguous()[1:]
    save_torchscript(half, tmp_path / "ViT.pt")
    _assert_same(read_checkpoint(tmp_path / "ViT.pt"), half)


def test_traced_module(tmp_path):
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Sequential(nn.ReLU(), nn.Conv2d(4, 2, 1)))
    torch.jit.trace(module.eval(), torch.zeros(1, 3, 8, 8)).save(str(tmp_path / "traced.pt"))
    _assert_same(read_checkpoint(tmp_path / "traced.pt"), module.state_dict())


class _Attack:
    def __reduce__(self):
        return (print, ("this must never run",))


def test_malicious_files_are_refused(tmp_path, capsys):
    torch.save({"state_dict": TABLE, "extra": _Attack()}, tmp_path / "bad.pt")
    with pytest.raises(CheckpointError, match="objects other than tensors"):
        read_checkpoint(tmp_path / "bad.pt")
    with zipfile.ZipFile(tmp_path / "script.pt", "w") as archive:
        archive.writestr("script/data.pkl", pickle.dumps(_Attack(), protocol=2))
        archive.writestr("script/constants.pkl", pickle.dumps(()))
    with pytest.raises(CheckpointError, match=r"print is not a part"):
        read_checkpoint(tmp_path / "script.pt")
    assert capsys.readouterr().out == ""


def _truncated(path, tmp_path):
    (tmp_path / "cut").write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    return tmp_path / "cut"


@pytest.mark.parametrize("kind", ["torch", "legacy", "safetensors", "script"])
def test_truncated(tmp_path, kind):
    whole = tmp_path / "whole"
    if kind == "safetensors":
        save_file(TABLE, whole)
    elif kind == "script":
        save_torchscript(TABLE, whole)
    else:
        torch.save(TABLE, whole, _use_new_zipfile_serialization=kind == "torch")
    message = r"cut.*(truncated|damaged|other than tensors)"  # a cut legacy file may look like foreign objects
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(_truncated(whole, tmp_path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 9\n", "git-lfs pointer"),
        (b"\n<!DOCTYPE html><html></html>", "web page"),
        (b"these are not the weights you are looking for", "not a checkpoint"),
        (bytes(100), "not a checkpoint"),
    ],
)
def test_not_a_checkpoint(tmp_path, content, message):
    (tmp_path / "file.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(tmp_path / "file.pt")


def test_no_file_and_no_tensors(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.pt"):
        read_checkpoint(tmp_path / "nothing.pt")
    torch.save({"epoch": 3}, tmp_path / "empty.pt")
    with pytest.raises(CheckpointError, match="no tensors"):
        read_checkpoint(tmp_path / "empty.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(CheckpointError, match="holds a list"):
        read_checkpoint(tmp_path / "list.pt")


def test_checkpoint_in_several_files(tmp_path):
    names = list(TABLE)
    save_file({names[0]: TABLE[names[0]]}, tmp_path / "model-00001-of-00002.safetensors")
    save_file({name: TABLE[name] for name in names[1:]}, tmp_path / "model-00002-of-00002.safetensors")
    parts = dict.fromkeys(names, "model-00002-of-00002.safetensors")
    parts[names[0]] = "model-00001-of-00002.safetensors"
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": parts}))
    _assert_same(read_checkpoint(index))
    for strange in ({"weight_map": {"a": "../other.safetensors"}}, {"weight_map": {"a": 3}}, {"weights": 1}, []):
        index.write_text(json.dumps(strange))
        with pytest.raises(CheckpointError, match=r"index\.json (names files|is no index)"):
            read_checkpoint(index)
