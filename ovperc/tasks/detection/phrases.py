"""Phrases as the sum of their words, for detectors that are to compose what they were not trained on."""

from __future__ import annotations

import dataclasses

import torch
from torch.nn import functional as F

from ovperc.core.structures import TextBank
from ovperc.text.encoder import TextEncoder
from ovperc.text.phrase_parts import phrase_parts as phrase_parts
from ovperc.text.vocabulary import Vocabulary


def composed_bank(encoder: TextEncoder, vocabulary: Vocabulary) -> TextBank:
    """A bank whose phrases of several words are the normalised sum of their embedded parts.

    A dual encoder remembers the pairs it was trained on; sums treat pairs it has and has not seen alike.

    Args:
        encoder: embeds the parts, with its own templates.
        vocabulary: the words.
    """
    bank = encoder(vocabulary)
    parts = [phrase_parts(prompt) for prompt in vocabulary.prompts]
    words = list(dict.fromkeys(part for row in parts for part in row))
    rows = dict(zip(words, encoder.encode_words(words), strict=True))
    sums = torch.stack([torch.stack([rows[part] for part in row]).sum(dim=0) for row in parts])
    return dataclasses.replace(bank, embeddings=F.normalize(sums, dim=1))
