"""Text banks: arrays, files, refusals."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from ovperc.core.background import Background
from ovperc.core.text_bank import TextBank


def _rows(count: int) -> np.ndarray:
    rows = np.random.default_rng(0).normal(size=(count, 6)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_tensors_to_arrays_and_back_from_a_file(tmp_path) -> None:
    policy = Background(("sky",), 0.25)
    torch_bank = TextBank(torch.from_numpy(_rows(3)), torch.tensor([0, 1, 1]), ("background", "é"), "finger", policy)
    torch_bank.save(tmp_path / "words.npz")
    loaded = TextBank.load(tmp_path / "words.npz")
    assert (loaded.embeddings == torch_bank.embeddings.numpy()).all()
    assert (loaded.owners == [0, 1, 1]).all()
    assert (loaded.names, loaded.fingerprint, loaded.background) == (("background", "é"), "finger", policy)


@pytest.mark.parametrize(
    ("rows", "owners", "message"),
    [
        (_rows(0), [], "at least one prompt"),
        (np.full((1, 6), np.nan), [0], "not finite"),
        (_rows(2), [0], "needs embeddings"),
        (_rows(2), [0, 2], "range of names"),
    ],
)
def test_refusals(rows, owners, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TextBank(rows, np.array(owners, dtype=np.int64), ("a", "b"), "finger")
    with pytest.raises(ValueError, match=message):
        TextBank(torch.from_numpy(rows), torch.tensor(owners, dtype=torch.int64), ("a", "b"), "finger")


def test_refuses_other_files(tmp_path) -> None:
    (tmp_path / "words.npz").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="not a text bank"):
        TextBank.load(tmp_path / "words.npz")


def test_files_of_the_first_format_open(tmp_path) -> None:
    head = {
        "format": "ovperc-word-bank-1",
        "names": ["a"],
        "fingerprint": "f",
        "background": {"words": [], "threshold": 0},
    }
    np.savez(tmp_path / "words.npz", embeddings=_rows(1), owners=np.zeros(1, np.int64), head=np.array(json.dumps(head)))
    assert TextBank.load(tmp_path / "words.npz").names == ("a",)
