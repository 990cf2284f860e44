"""Reading a user's words for a predictor: vocabularies, their banks, and a warning of words without meaning."""

from __future__ import annotations

import warnings
from collections import OrderedDict

from ovperc.core.structures import TextBank
from ovperc.text.coverage import UnseenWordsWarning, unseen_words
from ovperc.text.encoder import TextEncoder
from ovperc.text.vocabulary import BackgroundLike, Vocabulary, Words

_BANKS_KEPT = 8
_WORDS_LISTED = 6


class WordReader:
    """What predictors of every task share about words.

    Args:
        text_encoder: makes text banks with the text tower of the same weights.
        weights: what those weights are called, for the warning.
        background: policy for words that bring none of their own.
    """

    def __init__(self, text_encoder: TextEncoder, weights: str, background: BackgroundLike = None) -> None:
        self.text_encoder = text_encoder
        self.background = background
        self._weights = weights
        self._banks: OrderedDict[Vocabulary, TextBank] = OrderedDict()

    def vocabulary(self, words: Words, background: BackgroundLike = None) -> Vocabulary:
        """Reads words; without a background of their own they get the predictor's."""
        if background is None and not isinstance(words, Vocabulary):
            background = self.background
        return Vocabulary.parse(words, background)

    def bank(self, words: Words, background: BackgroundLike = None) -> TextBank:
        """The embedded words. The last few vocabularies stay in memory, single words also on disk."""
        vocabulary = self.vocabulary(words, background)
        if vocabulary not in self._banks:
            self._banks[vocabulary] = self.embed(vocabulary)
            self._warn_of_unseen(vocabulary)
        self._banks.move_to_end(vocabulary)
        while len(self._banks) > _BANKS_KEPT:
            self._banks.popitem(last=False)
        return self._banks[vocabulary]

    def embed(self, vocabulary: Vocabulary) -> TextBank:
        """A new bank; predictors that embed words in another way replace this."""
        return self.text_encoder(vocabulary)

    def _warn_of_unseen(self, vocabulary: Vocabulary) -> None:
        unseen = unseen_words(self.text_encoder.text_tower, vocabulary.prompts)
        if unseen:
            listed = ", ".join(map(repr, unseen[:_WORDS_LISTED])) + (", ..." if len(unseen) > _WORDS_LISTED else "")
            warnings.warn(
                f"{self._weights} has never met {listed}: what it marks so is chance; "
                "use words it knows, or weights that know more",
                UnseenWordsWarning,
                stacklevel=4,
            )
