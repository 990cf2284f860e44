"""CLIP's byte-pair tokenizer on the standard library and numpy: no torch, regex or ftfy.

Equal to open_clip's ``SimpleTokenizer`` with its default cleaning. One difference is left: text whose encoding
was broken before it came here (mojibake) is not repaired.
"""

from __future__ import annotations

import gzip
import html
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

_MERGES = 49152 - 256 - 2
_SPECIAL = ("<start_of_text>", "<end_of_text>")
_SUFFIXES = ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d")
_QUOTES = str.maketrans(dict.fromkeys("‘’‚‛ʼ", "'") | dict.fromkeys("“”„‟", '"'))
_LIGATURES = str.maketrans(
    {"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "ſt", "ﬆ": "st", "ĳ": "ij", "Ĳ": "IJ", "ŉ": "ʼn"}
)


class PromptTooLongError(ValueError):
    """A prompt that does not fit the context of the text tower."""


class Tokenizer:
    """Words to token ids.

    Args:
        merges: ``bpe_simple_vocab_16e6.txt.gz``, which OpenAI published with CLIP.
        context_length: tokens of a prompt, begin and end included.
    """

    def __init__(self, merges: str | Path, context_length: int = 77) -> None:
        lines = gzip.decompress(Path(merges).read_bytes()).decode("utf-8").split("\n")
        pairs = [tuple(line.split()) for line in lines[1 : _MERGES + 1]]
        letters = _byte_letters()
        units = [*letters.values(), *(f"{letter}</w>" for letter in letters.values())]
        units += ["".join(pair) for pair in pairs] + list(_SPECIAL)
        self.context_length = context_length
        self._ids = {unit: index for index, unit in enumerate(units)}
        self._ranks = {pair: rank for rank, pair in enumerate(pairs)}
        self._letters = letters
        self._words: dict[str, list[int]] = {}
        self.start_id, self.end_id = (self._ids[token] for token in _SPECIAL)

    def __call__(self, prompts: Sequence[str]) -> np.ndarray:
        """Token ids ``(N, L)`` int64, zeros behind the end; ``L`` is that of the longest prompt.

        Raises:
            PromptTooLongError: naming the prompt; nothing is cut silently.
        """
        rows = [[self.start_id, *self.encode(prompt), self.end_id] for prompt in prompts]
        for prompt, row in zip(prompts, rows, strict=True):
            if len(row) > self.context_length:
                shown = prompt if len(prompt) <= 60 else f"{prompt[:60]}..."
                raise PromptTooLongError(
                    f"prompt {shown!r} needs {len(row)} tokens with begin and end, the tower reads "
                    f"{self.context_length}; use fewer words"
                )
        tokens = np.zeros((len(rows), max(map(len, rows), default=0)), dtype=np.int64)
        for index, row in enumerate(rows):
            tokens[index, : len(row)] = row
        return tokens

    def encode(self, text: str) -> list[int]:
        """Ids of a text, without begin and end."""
        return [token for word in split_words(clean(text)) for token in self._encode_word(word)]

    def _encode_word(self, word: str) -> list[int]:
        if word not in self._words:
            if word in _SPECIAL:
                return [self._ids[word]]
            units = [self._letters[byte] for byte in word.encode("utf-8")]
            units[-1] += "</w>"
            self._words[word] = [self._ids[unit] for unit in self._merge(units)]
        return self._words[word]

    def _merge(self, units: list[str]) -> list[str]:
        """Joins the pair of the lowest rank, everywhere from left to right, until no known pair is left."""
        while len(units) > 1:
            rank, pair = min((self._ranks.get(pair, _MERGES), pair) for pair in pairwise(units))
            if rank == _MERGES:
                break
            merged, index = [], 0
            while index < len(units):
                joined = tuple(units[index : index + 2]) == pair
                merged.append("".join(pair) if joined else units[index])
                index += 2 if joined else 1
            units = merged
        return units


def clean(text: str) -> str:
    """Lower case, single spaces, HTML entities resolved, typographic quotes and ligatures made plain."""
    text = html.unescape(text) if "<" not in text else text
    text = "".join(_narrow(letter) for letter in text.translate(_LIGATURES)).translate(_QUOTES)
    text = "".join(letter for letter in text if not _is_control(letter))
    text = html.unescape(html.unescape(unicodedata.normalize("NFC", text)))
    return " ".join(text.split()).lower()


def split_words(text: str) -> Iterator[str]:
    """What the byte-pair merges work on: ``'s``-like endings, runs of letters, single digits, runs of the rest."""
    index = 0
    while index < len(text):
        special = next((token for token in (*_SPECIAL, *_SUFFIXES) if text.startswith(token, index)), None)
        kind = _kind(text[index])
        end = index + 1
        if special is not None:
            end = index + len(special)
        elif kind in ("letter", "other"):
            while end < len(text) and _kind(text[end]) == kind:
                end += 1
        if kind != "space":
            yield text[index:end]
        index = end


def _kind(letter: str) -> str:
    if letter.isspace():
        return "space"
    return {"L": "letter", "N": "number"}.get(unicodedata.category(letter)[0], "other")


def _narrow(letter: str) -> str:
    """Full-width and half-width forms as their common ones."""
    return unicodedata.normalize("NFKC", letter) if "\uff01" <= letter <= "\uffef" or letter == "\u3000" else letter


def _is_control(letter: str) -> bool:
    """Characters without meaning in a text: controls but tab and line ends, byte-order marks, deprecated formats."""
    code = ord(letter)
    return (
        (code < 32 and letter not in "\t\n\f\r")
        or code == 127
        or 0x206A <= code <= 0x206F
        or 0xFFF9 <= code <= 0xFFFC
        or code == 0xFEFF
    )


def _byte_letters() -> dict[int, str]:
    """Byte -> the printable character that stands for it in the merges, in the order of the vocabulary."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = {byte: chr(byte) for byte in printable}
    return letters | {byte: chr(256 + index) for index, byte in enumerate(others)}
