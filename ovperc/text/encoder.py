"""Encodes vocabularies to text banks, in batches and with a cache."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from ovperc.core.inference import own_precision
from ovperc.core.structures import TextBank
from ovperc.text.bank_store import BankStore, word_key
from ovperc.text.templates import TemplateSet, get_templates
from ovperc.text.vocabulary import Vocabulary

_PROGRESS_FROM_PROMPTS = 2000


class Advance(Protocol):
    """Progress callback, called with the number of newly encoded words."""

    def __call__(self, words: int) -> None: ...


class PromptEncoder(Protocol):
    """Interface of a text tower (:class:`ovperc.backbones.text_tower.TextTower` is one)."""

    def tokenize(self, prompts: list[str]) -> Tensor:
        """``(Q, L)`` int64; raises ValueError for a prompt that is too long."""

    def encode_tokens(self, tokens: Tensor) -> Tensor:
        """``(Q, L) -> (Q, E)``, not normalised."""


class TextEncoder:
    """Embeds vocabularies with one text tower and one template set.

    Per word: each sentence to unit norm, the mean over sentences, to unit norm again, in float32 (CLIP,
    Radford et al. 2021, section 3.1.4). A word is embedded once per store, whichever vocabulary it is in.

    Args:
        text_tower: tokenizes and encodes.
        fingerprint: of the tower; banks carry it and the store is keyed by it.
        templates: a set, or its name.
        cache_dir: folder of embedded words; ``None`` keeps them in memory only.
        batch_size: sentences per forward pass.
        progress: shows a bar on stderr; ``None`` does so for long vocabularies on a terminal.
    """

    def __init__(
        self,
        text_tower: PromptEncoder,
        fingerprint: str,
        templates: str | Sequence[str] | TemplateSet = "openai80",
        cache_dir: str | Path | None = None,
        batch_size: int = 256,
        progress: bool | None = None,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1; got {batch_size}")
        self.text_tower = text_tower
        self.fingerprint = fingerprint
        self.templates = get_templates(templates)
        self.batch_size = batch_size
        self.progress = progress
        self._store = BankStore(cache_dir, fingerprint, self.templates.digest)

    def __call__(self, vocabulary: Vocabulary) -> TextBank:
        """The vocabulary as a bank on the tower's device.

        Raises:
            ValueError: a word does not fit the tower's context; the error names it.
        """
        embeddings = self.encode_words(vocabulary.prompts)
        return TextBank(
            embeddings=embeddings,
            owners=torch.tensor(vocabulary.owners, dtype=torch.int64, device=embeddings.device),
            names=vocabulary.names,
            fingerprint=self.fingerprint,
            background=vocabulary.background,
        )

    def encode_words(self, words: Sequence[str]) -> Tensor:
        """Words to unit rows ``(len(words), E)`` float32, on the tower's device."""
        dtype, device = self._precision_and_device()
        keys = [word_key(word, dtype) for word in words]
        rows = self._store.find(keys)
        missing = {key: word for key, word in zip(keys, words, strict=True) if key not in rows}
        if missing:
            rows |= self._encode_missing(missing)
        return torch.stack([rows[key] for key in keys]).to(device)

    def _precision_and_device(self) -> tuple[torch.dtype, torch.device]:
        """Current dtype and device of the tower, which may have been moved."""
        parameters = self.text_tower.parameters() if isinstance(self.text_tower, torch.nn.Module) else iter(())
        first = next(parameters, None)
        return (torch.float32, torch.device("cpu")) if first is None else (first.dtype, first.device)

    def _encode_missing(self, missing: dict[bytes, str]) -> dict[bytes, Tensor]:
        """Rows ``(E,)`` of words that are not in the store; what is done stays there if a later one fails."""
        # Longest first: a word that is too long fails immediately, and sentences of one
        # length share a batch, so that little padding is encoded.
        order = sorted(missing, key=lambda key: (-len(missing[key]), missing[key]))
        step = max(1, self.batch_size // len(self.templates))
        rows: dict[bytes, Tensor] = {}
        try:
            with self._progress_bar(len(order)) as advance:
                for begin in range(0, len(order), step):
                    keys = order[begin : begin + step]
                    embeddings = self._embed([missing[key] for key in keys]).cpu()
                    self._store.add(keys, embeddings)
                    rows.update(zip(keys, embeddings, strict=True))
                    advance(len(keys))
        finally:
            self._store.flush()
        return rows

    @own_precision()
    @torch.no_grad()
    def _embed(self, words: list[str]) -> Tensor:
        """One batch of words, ``(len(words), E)`` float32, unit rows."""
        sentences = [sentence for word in words for sentence in self.templates.expand(word)]
        unique = list(dict.fromkeys(sentences))
        tokens = self._tokenize(unique, words)
        encoded = torch.cat([self._encode(chunk) for chunk in tokens.split(self.batch_size)])
        position = {sentence: row for row, sentence in enumerate(unique)}
        rows = torch.tensor([position[sentence] for sentence in sentences], device=encoded.device)
        mean = encoded[rows].unflatten(0, (len(words), len(self.templates))).mean(dim=1)
        return F.normalize(mean, dim=-1)

    def _encode(self, tokens: Tensor) -> Tensor:
        _, device = self._precision_and_device()
        return F.normalize(self.text_tower.encode_tokens(tokens.to(device)).float(), dim=-1)

    def _tokenize(self, sentences: list[str], words: list[str]) -> Tensor:
        try:
            return self.text_tower.tokenize(sentences)
        except ValueError as batch_error:
            for word in words:
                try:
                    self.text_tower.tokenize(list(self.templates.expand(word)))
                except ValueError as error:
                    raise ValueError(
                        f"the word {word!r} does not fit the text tower ({error}); write it shorter"
                    ) from error
            raise batch_error

    @contextmanager
    def _progress_bar(self, words: int) -> Iterator[Advance]:
        """A progress bar on stderr, if requested or useful."""
        long_job = words * len(self.templates) >= _PROGRESS_FROM_PROMPTS and sys.stderr.isatty()
        if not (long_job if self.progress is None else self.progress):
            yield lambda words: None
            return
        from rich.console import Console
        from rich.progress import Progress

        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("Embedding words", total=words)
            yield lambda words: bar.advance(task, words)
