"""What the predictors share that are queried with a vocabulary."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ovperc.core.cache import RecentCache
from ovperc.core.structures import TextBank
from ovperc.tasks.predictor import ImageResult, Predictor, PredictorInfo
from ovperc.text.coverage import UnseenWordsWarning, unseen_words
from ovperc.text.encoder import TextEncoder
from ovperc.text.vocabulary import BackgroundLike, Vocabulary, Words

if TYPE_CHECKING:
    from ovperc.tasks.methods import ResolvedMethod

_BANKS_KEPT = 8
_WORDS_LISTED = 6


class VocabularyPredictor(Predictor):
    """A predictor whose query is a text bank.

    Args:
        text_encoder: makes text banks with the text tower of the same weights.
        info: what predictions say they were made with.
        background: policy for vocabularies that bring none of their own: None, a threshold, words of an explicit
            background, or both.
        resolved: the method's settings and where each comes from.
    """

    def __init__(
        self,
        text_encoder: TextEncoder,
        info: PredictorInfo,
        background: BackgroundLike = None,
        resolved: ResolvedMethod | None = None,
    ) -> None:
        self.text_encoder = text_encoder
        self.info = info
        self.background = background
        self.resolved = resolved
        self._banks: RecentCache[Vocabulary, TextBank] = RecentCache(_BANKS_KEPT)

    def predict(
        self, images: Any, words: Any, background: BackgroundLike = None, *, source: str | None = None, **options: Any
    ) -> Any:
        """Predicts one image or several; see :meth:`Predictor.predict` and :meth:`query`."""
        return super().predict(images, words, source=source, background=background, **options)

    def predict_each(
        self, images: Any, words: Any, background: BackgroundLike = None, **options: Any
    ) -> Iterator[ImageResult]:
        """Predicts images one after the other; see :meth:`Predictor.predict_each` and :meth:`query`."""
        return super().predict_each(images, words, background=background, **options)

    def query(self, words: Words | TextBank, background: BackgroundLike = None) -> Any:
        """The embedded vocabulary: a :class:`TextBank`, or what a task makes of one.

        Args:
            words: list, ``"red star, grass|lawn"``, ``{"grass": ["lawn"]}``, a file, a vocabulary, or a text bank.
            background: None, a threshold, words of an explicit background, or both.
        """
        return words if isinstance(words, TextBank) else self.bank(words, background)

    def vocabulary(self, words: Words, background: BackgroundLike = None) -> Vocabulary:
        """Reads words; without a background of their own they get the predictor's."""
        if background is None and not isinstance(words, Vocabulary):
            background = self.background
        return Vocabulary.parse(words, background)

    def bank(self, words: Words, background: BackgroundLike = None) -> TextBank:
        """The embedded vocabulary. The last few stay in memory, single words also on disk."""
        vocabulary = self.vocabulary(words, background)
        return self._banks.get(vocabulary, lambda: self._embed_with_warning(vocabulary))

    def embed(self, vocabulary: Vocabulary) -> TextBank:
        """A new bank; predictors that embed words in another way replace this."""
        return self.text_encoder(vocabulary)

    def _embed_with_warning(self, vocabulary: Vocabulary) -> TextBank:
        bank = self.embed(vocabulary)
        unseen = unseen_words(self.text_encoder.text_tower, vocabulary.prompts)
        if unseen:
            listed = ", ".join(map(repr, unseen[:_WORDS_LISTED])) + (", ..." if len(unseen) > _WORDS_LISTED else "")
            warnings.warn(
                f"{self.info.weights} was not trained on {listed}; predictions for them are arbitrary. "
                "Use words it was trained on, or weights with a larger vocabulary",
                UnseenWordsWarning,
                stacklevel=6,
            )
        return bank
