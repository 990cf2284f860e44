"""Folders as the Hugging Face hub's client leaves them, and a tokenizer small enough to write into a test."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

SHA = "0123456789abcdef0123456789abcdef01234567"


def cache_repository(cache: Path, repo: str, files: Path) -> Path:
    """Copies a folder into a hub cache as the snapshot of ``main``; returns the snapshot."""
    root = cache / f"models--{repo.replace('/', '--')}"
    snapshot = root / "snapshots" / SHA
    shutil.copytree(files, snapshot)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text(SHA)
    return snapshot


def save_tokenizer(folder: Path, words: int, *, end: int, pad: int = 0) -> None:
    """A word-level tokenizer in transformers' files: ``<s> words </s>``, ids below ``words``."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    free = iter(index for index in range(words) if index not in (pad, end))
    start, unknown = next(free), next(free)
    names = {pad: "<pad>", end: "</s>", start: "<s>", unknown: "<unk>"}
    names.update(zip(free, ["a", "red", "star", "grass"], strict=False))
    tokenizer = Tokenizer(models.WordLevel({name: index for index, name in names.items()}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", start), ("</s>", end)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", bos_token="<s>", unk_token="<unk>"
    )
    fast.save_pretrained(folder)


def write_json(path: Path, content: dict) -> None:
    """Writes a config next to the weights."""
    path.write_text(json.dumps(content), encoding="utf-8")
