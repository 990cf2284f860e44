"""Words to embeddings with an exported text tower: tokenizer, sentences, and a memory of words. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ovperc.runtime.card import MERGES_NAME, TEXT_NAME, Card, FolderError
from ovperc.runtime.sessions import Session, SessionOptions
from ovperc.runtime.tokenizer import Tokenizer
from ovperc.text.templates import TemplateSet

_SENTENCES_PER_CALL = 256


class WordEncoder:
    """Opens the text tower at the first word that is new.

    Args:
        folder: of the files.
        card: of the folder.
        options: how the text tower is opened.
    """

    def __init__(self, folder: Path, card: Card, options: SessionOptions) -> None:
        self._folder = folder
        self._card = card
        self._options = options
        self._templates = TemplateSet("card", card.templates, frozenset(card.mass_nouns))
        self._opened: tuple[Tokenizer, Session] | None = None
        self._embedded: dict[str, np.ndarray] = {}

    def __call__(self, words: Sequence[str]) -> np.ndarray:
        """Words in all sentences of the card to unit rows ``(len(words), E)`` float32; each word once.

        Raises:
            FolderError: the text tower or its tokenizer is missing.
            PromptTooLongError: a word does not fit the text tower.
        """
        missing = [word for word in dict.fromkeys(words) if word not in self._embedded]
        step = max(1, _SENTENCES_PER_CALL // len(self._templates))
        for begin in range(0, len(missing), step):
            chunk = missing[begin : begin + step]
            rows = self.encode_sentences(self.sentences(chunk))
            means = rows.reshape(len(chunk), len(self._templates), -1).mean(axis=1)
            means /= np.linalg.norm(means, axis=1, keepdims=True)
            self._embedded.update(zip(chunk, means, strict=True))
        return np.stack([self._embedded[word] for word in words])

    def sentences(self, words: Sequence[str]) -> list[str]:
        """Every word in every sentence, word by word."""
        return [sentence for word in words for sentence in self._templates.expand(word)]

    def encode_sentences(self, sentences: list[str]) -> np.ndarray:
        """Unit rows ``(N, E)`` float32 of whole sentences."""
        tokenizer, tower = self._open()
        return tower.run(None, {"tokens": tokenizer(sentences)})[0]

    def unseen(self, words: Sequence[str]) -> list[str]:
        """Words with tokens that the weights never met."""
        if self._card.known_tokens is None:
            return []
        known = set(self._card.known_tokens)
        tokenizer, _ = self._open()
        return [word for word in words if not known.issuperset(tokenizer.encode(word))]

    def _open(self) -> tuple[Tokenizer, Session]:
        if self._opened is not None:
            return self._opened
        for needed in (TEXT_NAME, MERGES_NAME):
            if not (self._folder / needed).is_file():
                raise FolderError(
                    f"{needed} is missing from {str(self._folder)!r}, so words cannot be embedded here; copy it from "
                    "where the folder was made, or pass embedded words to use_bank"
                )
        tokenizer = Tokenizer(self._folder / MERGES_NAME, self._card.context_length)
        self._opened = tokenizer, self._options.open(self._folder / TEXT_NAME)
        return self._opened
