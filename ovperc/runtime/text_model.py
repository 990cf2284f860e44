"""What exported models that take a vocabulary share. No torch."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ovperc.core.text_bank import TextBank
from ovperc.runtime.base import ExportedModel
from ovperc.runtime.manifest import MERGES_NAME, TEXT_NAME, FixedVocabulary, Manifest
from ovperc.runtime.sessions import SessionOptions
from ovperc.runtime.text_encoder import ExportedTextEncoder
from ovperc.text.vocabulary import BackgroundLike, Vocabulary, Words

P = TypeVar("P")
QueryVocabulary = TextBank[np.ndarray] | FixedVocabulary
_UNIT_TOLERANCE = 1e-2


class ExportedTextModel(ExportedModel[QueryVocabulary, P]):
    """An exported method whose vocabulary can be another one in every call.

    Args:
        folder: of the files.
        manifest: of the folder.
        options: how the files are opened.
    """

    def __init__(self, folder: Path, manifest: Manifest, options: SessionOptions) -> None:
        super().__init__(folder, manifest, options)
        self.text_encoder = ExportedTextEncoder(folder, manifest, options)
        self._default: QueryVocabulary | None = manifest.fixed

    @classmethod
    def required_files(cls, manifest: Manifest) -> tuple[str, ...]:
        """The text tower and its tokenizer too, where the vocabulary is free."""
        text = () if manifest.fixed is not None else (TEXT_NAME, MERGES_NAME)
        return (*super().required_files(manifest), *text)

    @property
    def names(self) -> tuple[str, ...]:
        """Label -> name of the default vocabulary."""
        return self.query().names

    def set_words(self, words: Words, background: BackgroundLike = None) -> TextBank[np.ndarray]:
        """Chooses the default vocabulary, for calls that bring none of their own.

        Args:
            words: as for :meth:`ovperc.Predictor.predict`.
            background: None, a confidence threshold, words of an explicit background, or both.

        Returns:
            The embedded vocabulary.

        Raises:
            ValueError: the words are empty, do not fit the text tower, or are baked into this model.
            FolderError: the text tower or its tokenizer is missing.
        """
        bank = self.bank(words, background)
        self._default = bank
        return bank

    def use_bank(self, bank: TextBank) -> None:
        """Chooses an embedded vocabulary as the default, made by this model or by ovperc in Python.

        Raises:
            ValueError: a bank that this model cannot use; see :meth:`check_bank`.
        """
        self._default = self.check_bank(bank)

    def query(self, words: Words | TextBank | None = None, background: BackgroundLike = None) -> QueryVocabulary:
        """The vocabulary of one call.

        Args:
            words: as for :meth:`set_words`, or an embedded vocabulary; left out, the default one. The default stays.
            background: policy of ``words``.

        Raises:
            ValueError: no words and no default, or words that the model cannot take.
        """
        if isinstance(words, TextBank):
            return self.check_bank(words)
        if words is not None:
            return self.bank(words, background)
        if background is not None:
            raise ValueError("background is the policy of a vocabulary; pass words with it")
        default = self._default
        if default is None:
            raise ValueError("no words are set yet: pass words, or call set_words('red star, grass') first")
        return default

    def bank(self, words: Words, background: BackgroundLike = None) -> TextBank[np.ndarray]:
        """Embeds a vocabulary; costs the text tower's time for words that are new.

        Args:
            words: as for :meth:`set_words`.
            background: as for :meth:`set_words`.
        """
        self._refuse_if_fixed()
        vocabulary = Vocabulary.parse(words, background)
        rows = self._embed(vocabulary.prompts)
        self._warn_of_unknown(vocabulary.prompts)
        owners = np.asarray(vocabulary.owners, np.int64)
        return TextBank(rows, owners, vocabulary.names, self.manifest.fingerprint, vocabulary.background)

    def check_bank(self, bank: TextBank) -> TextBank[np.ndarray]:
        """A bank as arrays.

        Raises:
            ValueError: the bank was made by another encoder, or its rows are not of unit length.
        """
        self._refuse_if_fixed()
        if not isinstance(bank, TextBank):
            raise TypeError(f"an embedded vocabulary is a TextBank; got {type(bank).__name__}")
        bank, manifest = bank.numpy(), self.manifest
        if bank.fingerprint != manifest.fingerprint:
            raise ValueError(
                f"the text bank was made by encoder {bank.fingerprint!r}, this model by {manifest.fingerprint!r}; "
                "encode the vocabulary again with this folder's text tower"
            )
        if bank.embeddings.shape[1] != manifest.embed_dim:
            raise ValueError(f"the text bank has {bank.embeddings.shape[1]} channels, this model {manifest.embed_dim}")
        lengths = np.linalg.norm(bank.embeddings, axis=1)
        if np.abs(lengths - 1).max() > _UNIT_TOLERANCE:
            raise ValueError(
                f"rows of a text bank have length 1; got {lengths.min():.3g} to {lengths.max():.3g}. Encode the "
                "vocabulary again"
            )
        return bank

    def _embed(self, prompts: Sequence[str]) -> np.ndarray:
        """Unit rows ``(len(prompts), E)`` float32."""
        return self.text_encoder.encode_words(prompts)

    def _warn_of_unknown(self, words: Sequence[str]) -> None:
        unknown = self.text_encoder.unknown_words(words)
        if unknown:
            warnings.warn(
                f"{self.manifest.weights} was not trained on {', '.join(map(repr, unknown))}, so its predictions for "
                "these words are arbitrary; use words it knows, or other weights",
                stacklevel=4,
            )

    def _refuse_if_fixed(self) -> None:
        if self.manifest.fixed is not None:
            listed = ", ".join(self.manifest.fixed.names)
            raise ValueError(
                f"the vocabulary of this model is fixed ({listed}); export without --fixed-words to change it"
            )

    def _defaults(self) -> Mapping[str, Any]:
        return {"_default": self._default}
