"""Which words a text tower can know anything about."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from ovperc.text.encoder import PromptEncoder


class UnseenWordsWarning(UserWarning):
    """Words are asked that the weights have never met; their masks are chance."""


def unseen_words(text_tower: PromptEncoder, words: Iterable[str]) -> tuple[str, ...]:
    """Words with a token whose embedding is all zeros, as those of clip-mini are that no caption held.

    Towers whose tokenizer or table is of another kind than CLIP's answer with nothing.
    """
    table = getattr(getattr(getattr(text_tower, "tower", None), "token_embedding", None), "weight", None)
    tokenizer = getattr(text_tower, "tokenizer", None)
    if table is None or not hasattr(tokenizer, "encode") or not hasattr(tokenizer, "clean_fn"):
        return ()
    met = table.detach().any(dim=1).cpu()
    if bool(met.all()):
        return ()
    ids = {word: torch.tensor(tokenizer.encode(tokenizer.clean_fn(word)), dtype=torch.int64) for word in words}
    return tuple(word for word, tokens in ids.items() if not bool(met[tokens].all()))
