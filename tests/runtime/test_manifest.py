"""Manifests: what they hold, what is refused of changed folders, and folders of the first format."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from ovperc import runtime
from ovperc.core.checksum import file_sha256
from ovperc.runtime.input_spec import InputSpec
from ovperc.runtime.manifest import MANIFEST_NAME, MERGES_NAME, FolderError, Manifest, is_plain_name


@pytest.fixture
def copy(folder, tmp_path) -> Path:
    """A folder that may be written to."""
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def _edit(folder: Path, **fields) -> None:
    """Changes fields of a manifest and leaves its sha256."""
    path = folder / MANIFEST_NAME
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def _rewrite(folder: Path, **fields) -> None:
    """Changes fields of a manifest, with a sha256 that fits: what a stranger who knows the format can do."""
    from ovperc.runtime import manifest

    _edit(folder, **fields)
    content = json.loads((folder / MANIFEST_NAME).read_text())
    content.pop("sha256")
    _edit(folder, sha256=manifest._digest(content))


def test_manifest_describes_the_folder(model, folder) -> None:
    content = json.loads((folder / MANIFEST_NAME).read_text())
    assert content["method"] == "maskclip" and content["opset"] >= 18
    assert set(content["files"]) == {path.name for path in folder.iterdir()} - {MANIFEST_NAME}
    assert content["parity"]["label_agreement"] >= 0.999
    assert content["latency"]["exported_ms"] > 0
    assert model.manifest == Manifest.read(folder)


def test_refuses_damaged_files(copy) -> None:
    model_bytes = (copy / "model.onnx").read_bytes()
    (copy / "model.onnx").write_bytes(model_bytes[:-100])
    with pytest.raises(FolderError, match=r"model\.onnx.*sha256"):
        runtime.load(copy)
    (copy / "model.onnx").unlink()
    with pytest.raises(FolderError, match=r"model\.onnx is missing"):
        runtime.load(copy)
    (copy / "model.onnx").write_bytes(model_bytes)
    (copy / MERGES_NAME).unlink()
    with pytest.raises(FolderError, match="bpe_simple_vocab"):
        runtime.load(copy)
    with pytest.raises(FolderError, match="words cannot be embedded"):
        runtime.load(copy, verify=False).set_words("grass")


@pytest.mark.parametrize("text", ["{}", "[]", '{"format": NaN}', "[" * 100_000, '{"format": "ovperc-export-9"}'])
def test_refuses_other_manifests(copy, text: str) -> None:
    (copy / MANIFEST_NAME).write_text(text)
    with pytest.raises(FolderError, match=r"manifest"):
        runtime.load(copy)


def test_refuses_folders_without_manifest(tmp_path) -> None:
    with pytest.raises(FolderError, match="not an exported folder"):
        runtime.load(tmp_path / "nowhere")


@pytest.mark.parametrize("fields", [{"logit_scale": 9.0}, {"files": {}}, {"title": "x"}, {"sha256": None}])
def test_a_changed_manifest_is_noticed(copy, fields) -> None:
    _edit(copy, **fields)
    with pytest.raises(FolderError, match=r"manifest.*was changed"):
        runtime.load(copy)


def test_every_needed_file_must_be_listed(copy) -> None:
    """Not even a manifest whose sha256 fits can leave files out of the checks."""
    _rewrite(copy, files={})
    with pytest.raises(FolderError, match=r"does not list model\.onnx"):
        runtime.load(copy)


@pytest.mark.parametrize(
    "fields",
    [
        {"logit_scale": -50.0},
        {"logit_scale": 0},
        {"logit_scale": 1e9},
        {"logit_scale": "40"},
        {"embed_dim": 0},
        {"precision": "fp4"},
        {"templates": ["{}", 3]},
        {"context_length": -1},
        {"known_tokens": ["a"]},
        {"fixed": {"names": ["a"], "background": {"words": [], "threshold": 2.0}}},
        {"input_spec": {"size_hw": [0, 5]}},
        {"input_spec": {"scale": -1.0}},
        {"input_spec": {"patch_px": 0}},
        {"input_spec": {"colour": "red"}},
        {"files": {"../../secret": "0" * 64}},
        {"files": {"/etc/passwd": "0" * 64}},
        {"files": {"model.onnx": "short"}},
        {"settings": []},
        {"unknown": 1},
    ],
)
@pytest.mark.parametrize("verify", [True, False])
def test_values_out_of_range_are_refused(copy, fields, verify: bool) -> None:
    _rewrite(copy, **fields)
    with pytest.raises(FolderError, match="corrupt"):
        runtime.load(copy, verify=verify)


@pytest.mark.parametrize("verify", [True, False])
def test_links_do_not_leave_the_folder(copy, tmp_path, verify: bool) -> None:
    (copy / "model.onnx").rename(tmp_path / "elsewhere.onnx")
    (copy / "model.onnx").symlink_to(tmp_path / "elsewhere.onnx")
    with pytest.raises(FolderError, match="leaves the folder"):
        runtime.load(copy, verify=verify)


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "a\\b", "C:a", "a\0b", "../a", 3])
def test_names_that_are_no_files_of_the_folder(name) -> None:
    assert not is_plain_name(name)


def test_input_specs_refuse_sizes(model) -> None:
    fixed = dataclasses.replace(model.manifest.input_spec, size_hw=(480, 640))
    with pytest.raises(ValueError, match="480 x 640"):
        fixed.check((640, 480))
    tiles = InputSpec(short_side_px=336, max_long_side_px=2048, min_side_px=224, patch_px=16)
    tiles.check((100, 500))
    with pytest.raises(ValueError, match="too long and narrow"):
        tiles.check((100, 1000))


def _as_card(folder: Path, **fields) -> None:
    """Turns a folder into one of the first format."""
    content = json.loads((folder / MANIFEST_NAME).read_text())
    del content["sha256"]
    content |= {"format": "ovperc-export-1", "kind": "onnx", "fixed": None}
    content["profile"] = {**content.pop("input_spec"), "max_batch": 0}
    (folder / "card.json").write_text(json.dumps({**content, **fields}))
    (folder / MANIFEST_NAME).unlink()


def test_folders_of_the_first_format_open(copy, model) -> None:
    _as_card(copy)
    older = runtime.load(copy, threads=1)
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    assert (older.predict(image, "grass, brick").labels == model.predict(image, "grass, brick").labels).all()
    (copy / "text.onnx").write_bytes(b"")
    with pytest.raises(FolderError, match="sha256"):
        runtime.load(copy)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "aot", "method": "sclip"}, r"torch program \(aot\).*ovperc\.load\('sclip'\)"),
        ({"profile": None}, "corrupt"),
        ({"format": "other"}, "not a card"),
        ({"files": {}}, "does not list"),
        ({"logit_scale": -50}, "corrupt"),
    ],
)
def test_cards_that_are_refused(copy, fields, message: str) -> None:
    _as_card(copy, **fields)
    with pytest.raises(FolderError, match=message):
        runtime.load(copy)


def test_sha256_covers_every_file(copy) -> None:
    """The manifest is written last: files and digest fit each other."""
    manifest = Manifest.read(copy)
    assert all(file_sha256(copy / name) == digest for name, digest in manifest.files.items())


def test_a_second_export_is_byte_equal(folder, predictor, tmp_path) -> None:
    """All files but the manifest, and that but for the figures of its check."""
    from ovperc.export.folder import export_folder
    from ovperc.export.plan import ExportPlan

    again = export_folder(predictor, ExportPlan(), tmp_path / "again")
    assert again == dataclasses.replace(Manifest.read(folder), parity={}, latency={})
