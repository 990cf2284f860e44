"""Asks an exported folder for objects by any words: numpy, onnxruntime and Pillow, no torch.

from ovperc.runtime import segmenter as runtime

model = runtime.load("exports/fvlm")
model.set_words("red star, blue ring")
prediction = model.predict("photo.jpg")
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ovperc.runtime.anomaly import read_inputs
from ovperc.runtime.card import MODEL_NAME, Card
from ovperc.runtime.region_scores import region_scores, suppress
from ovperc.runtime.segmenter import check_bank, check_image
from ovperc.runtime.sessions import SessionOptions
from ovperc.runtime.streaming import StreamResult, stream
from ovperc.runtime.word_bank import WordBank
from ovperc.runtime.word_encoder import WordEncoder
from ovperc.tasks.detection.prediction import DetPrediction
from ovperc.text.phrase_parts import phrase_parts
from ovperc.text.vocabulary import BackgroundLike, Vocabulary, Words

_OUTPUTS = ("boxes", "objectness", "text", "vlm")


class ExportedDetector:
    """A detector that was exported, with the interface of its predictor where it can have it; no masks.

    Args:
        folder: of the files.
        card: of the folder.
        options: how the files are opened.
    """

    def __init__(self, folder: Path, card: Card, options: SessionOptions) -> None:
        self.card = card
        self.encode_words = WordEncoder(folder, card, options)
        self._classifier = {**card.settings["classifier"], **read_inputs(folder)}
        self._base_words = frozenset(card.settings["base_words"])
        self._session = options.open(folder / MODEL_NAME)
        self._bank: WordBank | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Label -> name of the words that are asked now, background left out."""
        if self._bank is None:
            raise ValueError("no words are set yet: call set_words('red star, grass') first")
        return self._bank.names[int(self._bank.background.enabled) :]

    def set_words(self, words: Words, background: BackgroundLike = None) -> WordBank:
        """Chooses what to look for.

        Args:
            words: as for the predictor.
            background: None, a least score, words of what is no object, or both.

        Raises:
            ValueError: the words are empty or do not fit the text tower.
            FolderError: the text tower or its tokenizer is missing.
        """
        vocabulary = Vocabulary.parse(words, background)
        prompts = vocabulary.prompts
        rows = self._composed(prompts) if self.card.settings["compose"] else self.encode_words(prompts)
        owners, fingerprint = np.asarray(vocabulary.owners), self.card.fingerprint
        self.use_bank(WordBank(rows, owners, vocabulary.names, fingerprint, vocabulary.background))
        return self._bank

    def use_bank(self, bank: Any) -> None:
        """Chooses words that are embedded already; see :func:`ovperc.runtime.segmenter.check_bank`."""
        self._bank = check_bank(bank, self.card)

    def predict(self, image: Any, words: Words | None = None, background: BackgroundLike = None) -> DetPrediction:
        """Finds the named objects in one image.

        Args:
            image: ``(H, W, 3)`` uint8 RGB, or a path or PIL image.
            words: sets new words first; left out, those of :meth:`set_words`.
            background: policy of ``words``.

        Raises:
            TypeError, ValueError: an image of another kind, or of a size outside the profile.
        """
        if words is not None:
            self.set_words(words, background)
        names, settings = self.names, self.card.settings
        pixels = check_image(image, self.card.profile)
        regions = dict(zip(_OUTPUTS, self._session.run(list(_OUTPUTS), {"image": pixels[None]}), strict=True))
        wide = (regions["boxes"][:, 2:] - regions["boxes"][:, :2]).min(axis=1) >= settings["min_side_px"]
        regions = {name: value[wide] for name, value in regions.items()}
        is_base = [name.casefold() in self._base_words for name in names]
        scores = region_scores(regions, self._bank, is_base, settings["fusion"], self._classifier)
        least = max(settings["min_score"], self._bank.background.threshold)
        rows, labels = suppress(regions["boxes"], scores, settings["nms_iou"], settings["keep"], least)
        card = self.card
        return DetPrediction(
            boxes=regions["boxes"][rows],
            scores=scores[rows, labels],
            labels=labels,
            names=names,
            size_hw=pixels.shape[:2],
            source=str(image) if isinstance(image, (str, Path)) else None,
            method=card.method,
            metadata={"weights": card.weights, "arch": card.arch, "precision": card.precision, "ovperc": card.version},
        )

    def predict_batch(
        self, images: Sequence[Any], words: Words | None = None, background: BackgroundLike = None
    ) -> list[DetPrediction]:
        """Several images, one after the other."""
        if words is not None:
            self.set_words(words, background)
        return [self.predict(image) for image in images]

    def stream(self, frames: Iterable[Any], latest: bool = True) -> Iterator[StreamResult[Any, DetPrediction]]:
        """Frames as they come; see :func:`ovperc.runtime.streaming.stream`."""
        return stream(frames, self.predict, latest)

    def _composed(self, prompts: Sequence[str]) -> np.ndarray:
        """Phrases as the normalised sum of their words, unit rows."""
        parts = [phrase_parts(prompt) for prompt in prompts]
        words = list(dict.fromkeys(part for row in parts for part in row))
        rows = dict(zip(words, self.encode_words(words), strict=True))
        sums = np.stack([np.sum([rows[part] for part in row], axis=0) for row in parts])
        return sums / np.linalg.norm(sums, axis=1, keepdims=True)
