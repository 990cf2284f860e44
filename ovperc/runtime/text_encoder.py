"""Prompts to embeddings with an exported text tower: tokenizer, templates and tower. No torch."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ovperc.runtime.manifest import MERGES_NAME, TEXT_NAME, FolderError, Manifest, file_in
from ovperc.runtime.sessions import OnnxSession, SessionOptions
from ovperc.runtime.tokenizer import Tokenizer
from ovperc.text.templates import TemplateSet

_SENTENCES_PER_CALL = 256
_WORDS_KEPT = 20_000


class ExportedTextEncoder:
    """The counterpart of :class:`ovperc.text.encoder.TextEncoder`; safe between threads.

    The text tower is opened at the first word. The row of a word depends on that word alone: each one passes the tower
    by itself, so neither other words nor earlier calls change a bit of it.

    Args:
        folder: that holds the text tower and the tokenizer's merges.
        manifest: of the folder.
        options: how the text tower is opened.
    """

    def __init__(self, folder: Path, manifest: Manifest, options: SessionOptions) -> None:
        self._folder = folder
        self._manifest = manifest
        self._options = options
        self._templates = TemplateSet("manifest", manifest.templates, frozenset(manifest.mass_nouns))
        self._opened: tuple[Tokenizer, OnnxSession] | None = None
        self._rows: OrderedDict[str, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def encode_words(self, words: Sequence[str]) -> np.ndarray:
        """Words in all templates of the manifest to unit rows ``(len(words), E)`` float32.

        Raises:
            FolderError: the text tower or its tokenizer is missing.
            PromptTooLongError: a word does not fit the text tower.
        """
        return np.stack([self._row(word) for word in words])

    def encode_prompts(self, prompts: Sequence[str]) -> np.ndarray:
        """Unit rows ``(N, E)`` float32 of prompts as they are."""
        tokenizer, tower = self._open()
        chunks = [prompts[begin : begin + _SENTENCES_PER_CALL] for begin in range(0, len(prompts), _SENTENCES_PER_CALL)]
        return np.concatenate([tower.run(None, {"tokens": tokenizer(chunk)})[0] for chunk in chunks])

    def prompts(self, word: str) -> tuple[str, ...]:
        """A word in every template."""
        return self._templates.expand(word)

    def unknown_words(self, words: Sequence[str]) -> list[str]:
        """Words with tokens that the weights were not trained on."""
        if self._manifest.known_tokens is None:
            return []
        known = set(self._manifest.known_tokens)
        tokenizer, _ = self._open()
        return [word for word in words if not known.issuperset(tokenizer.encode(word))]

    def _row(self, word: str) -> np.ndarray:
        """``(E,)``: the mean over all templates, each of unit norm, to unit norm again."""
        with self._lock:
            row = self._rows.get(word)
        if row is None:
            mean = self.encode_prompts(self.prompts(word)).mean(axis=0)
            row = mean / np.linalg.norm(mean)
            with self._lock:
                self._rows[word] = row
                while len(self._rows) > _WORDS_KEPT:
                    self._rows.popitem(last=False)
        return row

    def _open(self) -> tuple[Tokenizer, OnnxSession]:
        with self._lock:
            if self._opened is None:
                try:
                    merges, tower = (file_in(self._folder, name) for name in (MERGES_NAME, TEXT_NAME))
                except FolderError as error:
                    raise FolderError(
                        f"words cannot be embedded here: {error}, or pass an embedded vocabulary to use_bank"
                    ) from error
                tokenizer = Tokenizer(merges, self._manifest.context_length)
                self._opened = tokenizer, self._options.open(tower)
            return self._opened
