"""Training batches of the text tower: texts in varying templates, with the embedding that each should get."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ovperc.data.photo.sentence_teacher import embed_texts
from ovperc.data.photo.word_space import WordSpace, make_word_space
from ovperc.registry import DATASETS
from ovperc.text.templates import get_templates

_SHORT = ("{}", "a photo of a {}.", "a photo of {a}", "{a}", "{a}.", "a photo of the {}.")


@dataclass(frozen=True)
class SentenceBatch:
    """Texts of one training step, of similar lengths.

    Attributes:
        tokens: ``(Q, L)`` int64, cut at the longest text.
        targets: ``(Q, 384)`` float32 unit rows, the teacher's centred embeddings.
    """

    tokens: Tensor
    targets: Tensor


@DATASETS.register_module()
class SentenceBatches(Dataset):
    """Item ``i`` depends on the seed and ``i`` only.

    A batch is one of ``buckets`` equal parts, by length, of a larger draw, so that little is padded.

    Args:
        length: number of steps of the training run.
        batch: texts in a batch.
        seed: of the draws.
        weights: group of :class:`WordSpace` -> share of the draws.
        long_templates: share of words and phrases that go into CLIP's 80 ImageNet templates, not a short one.
        buckets: batches of one larger draw.
        cache: folder where the teacher's embeddings are kept.
        **words: as for :func:`make_word_space`.

    Attributes:
        texts: all training texts.
        targets: ``(T, 384)`` the teacher's centred embeddings of ``texts``, unit rows.
    """

    def __init__(
        self,
        length: int,
        batch: int = 256,
        seed: int = 0,
        weights: Mapping[str, float] | None = None,
        long_templates: float = 0.3,
        buckets: int = 4,
        cache: str | Path | None = None,
        **words: Any,
    ) -> None:
        from open_clip.tokenizer import SimpleTokenizer

        self.length, self.batch, self.seed, self.buckets = length, batch, seed, buckets
        self.long_templates = long_templates
        self.space: WordSpace = make_word_space(**words)
        shares = weights or {"class_names": 0.08, "words": 0.42, "phrases": 0.25, "captions": 0.25}
        groups = [getattr(self.space, name) for name in shares]
        self.texts = tuple(text for group in groups for text in group)
        self.targets = torch.from_numpy(np.concatenate([embed_texts(group, cache) for group in groups]))
        self._ends = np.cumsum([len(group) for group in groups])
        self._shares = np.array(list(shares.values())) / sum(shares.values())
        self._captions = list(shares).index("captions") if "captions" in shares else None
        self._templates = get_templates(_SHORT), get_templates("openai80")
        self._tokenizer = SimpleTokenizer()
        self._pieces: dict[str, list[int]] = {}

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> SentenceBatch:
        draw, part = divmod(int(index), self.buckets)
        rng = np.random.default_rng((self.seed, draw))
        groups = rng.choice(len(self._shares), self.batch * self.buckets, p=self._shares)
        begins = np.concatenate([[0], self._ends[:-1]])
        chosen = rng.integers(begins[groups], self._ends[groups])
        rows = [self._tokens(int(row), int(group), rng) for row, group in zip(chosen, groups, strict=True)]
        order = np.argsort([len(row) for row in rows], kind="stable").reshape(self.buckets, self.batch)
        order = order[rng.permutation(self.buckets)[part]]
        tokens = torch.zeros(self.batch, max(len(rows[place]) for place in order), dtype=torch.int64)
        for line, place in zip(tokens, order, strict=True):
            line[: len(rows[place])] = torch.tensor(rows[place])
        return SentenceBatch(tokens, self.targets[torch.from_numpy(chosen[order])])

    def _tokens(self, row: int, group: int, rng: np.random.Generator) -> list[int]:
        text = self.texts[row]
        if group == self._captions:
            sentence = ("a photo of {}", "{}", "{}.", "an image of {}", "there is {}.")[rng.integers(5)].format(text)
        else:
            templates = self._templates[int(rng.random() < self.long_templates)]
            pattern = templates.patterns[rng.integers(len(templates))]
            article = "an" if text[0] in "aeiou" else "a"
            sentence = pattern.replace("{a}", f"{article} {text}").replace("{}", text)
        tokens = [self._tokenizer.sot_token_id]
        for word in sentence.replace(".", " .").replace(",", " ,").split():
            if word not in self._pieces:
                self._pieces[word] = self._tokenizer.encode(word)
            tokens += self._pieces[word]
        return [*tokens[:75], self._tokenizer.eot_token_id]
