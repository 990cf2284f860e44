"""Word banks: conversion, files, refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ovperc.core.background import Background
from ovperc.core.structures import TextBank
from ovperc.runtime.word_bank import WordBank


def _rows(count: int) -> np.ndarray:
    rows = np.random.default_rng(0).normal(size=(count, 6)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_of_a_torch_bank_and_back_from_a_file(tmp_path) -> None:
    policy = Background(("sky",), 0.25)
    torch_bank = TextBank(torch.from_numpy(_rows(3)), torch.tensor([0, 1, 1]), ("background", "é"), "finger", policy)
    bank = WordBank.of(torch_bank)
    bank.save(tmp_path / "words.npz")
    loaded = WordBank.load(tmp_path / "words.npz")
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
        WordBank(rows, np.array(owners, dtype=np.int64), ("a", "b"), "finger")


def test_refuses_other_files_and_objects(tmp_path) -> None:
    (tmp_path / "words.npz").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="not a word bank"):
        WordBank.load(tmp_path / "words.npz")
    with pytest.raises(TypeError, match="WordBank or a TextBank"):
        WordBank.of([1, 2])
