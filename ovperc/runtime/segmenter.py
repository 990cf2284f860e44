"""Asks an exported folder any words: numpy, onnxruntime and Pillow, no torch.

from ovperc.runtime import segmenter as runtime

model = runtime.load("exports/maskclip")
model.set_words("red star, grass|lawn", background=0.3)
prediction = model.predict("photo.jpg")
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ovperc.core.background import Background
from ovperc.io.images import read_image
from ovperc.runtime.card import MODEL_NAME, Card, FolderError, Profile
from ovperc.runtime.sessions import SessionOptions
from ovperc.runtime.streaming import StreamResult, stream
from ovperc.runtime.word_bank import WordBank
from ovperc.runtime.word_encoder import WordEncoder
from ovperc.tasks.segmentation.prediction import SegPrediction
from ovperc.text.vocabulary import BackgroundLike, Vocabulary, Words

_OPENERS = {
    "segmentation": "ovperc.runtime.segmenter:ExportedSegmenter",
    "anomaly": "ovperc.runtime.anomaly:ExportedAnomaly",
    "detection": "ovperc.runtime.detector:ExportedDetector",
}


def load(
    folder: str | Path,
    providers: str | Sequence[Any] = "cpu",
    threads: int | None = None,
    verify: bool = True,
) -> Any:
    """Opens an exported folder: an :class:`ExportedSegmenter`, or what its task has in its place.

    Args:
        folder: made by ``tools/export.py``.
        providers: ``"cpu"``, ``"cuda"``, ``"tensorrt"``, or onnxruntime's own names (also with options, as
            ``("CUDAExecutionProvider", {"device_id": 1})``); several in order of preference.
        threads: CPU threads of the model; ``None`` for all cores.
        verify: compare every file with its sha256 first.

    Raises:
        FolderError: the folder is incomplete or damaged.
        ValueError: an unknown provider, or one that this onnxruntime lacks.
    """
    folder = Path(folder).expanduser()
    card = Card.read(folder)
    if verify:
        card.verify(folder)
    if card.task not in _OPENERS:
        raise FolderError(f"this ovperc opens no folders of the task {card.task!r}; install a newer one")
    module, name = _OPENERS[card.task].split(":")
    opener = getattr(importlib.import_module(module), name)
    return opener(folder, card, SessionOptions.choose(providers, threads))


def check_image(image: Any, profile: Profile) -> np.ndarray:
    """An image as an array that a graph takes, ``(H, W, 3)`` uint8 RGB.

    Raises:
        TypeError, ValueError: an image of another kind, or of a size outside the profile.
    """
    if not isinstance(image, np.ndarray):
        image = read_image(image)
    if image.dtype != np.uint8:
        raise TypeError(f"image must be uint8 with values 0..255; got {image.dtype}")
    if image.ndim != 3 or image.shape[2] != 3:
        hint = "; it looks channels first: transpose(1, 2, 0)" if image.ndim == 3 and image.shape[0] == 3 else ""
        raise ValueError(f"image must be (H, W, 3) RGB; got shape {image.shape}{hint}")
    profile.check(image.shape[:2])
    return np.ascontiguousarray(image)


def check_bank(bank: Any, card: Card) -> WordBank:
    """A bank that a folder can be asked with, embedded by its runtime or by ovperc in Python.

    Raises:
        ValueError: the bank was made by another encoder, or holds nothing that can be asked.
    """
    bank = WordBank.of(bank)
    if bank.fingerprint != card.fingerprint:
        raise ValueError(
            f"the word bank was made by encoder {bank.fingerprint!r}, this file by {card.fingerprint!r}; "
            "encode the words again with this folder's text tower"
        )
    if bank.embeddings.shape[1] != card.embed_dim:
        raise ValueError(f"the word bank has {bank.embeddings.shape[1]} channels, this file {card.embed_dim}")
    return bank


class ExportedSegmenter:
    """A method that was exported, with the interface of :class:`ovperc.Predictor` where it can have it.

    Args:
        folder: of the files.
        card: of the folder.
        options: how the files are opened.
    """

    def __init__(self, folder: Path, card: Card, options: SessionOptions) -> None:
        self.card = card
        self.encode_words = WordEncoder(folder, card, options)
        self._session = options.open(folder / MODEL_NAME)
        self._bank: WordBank | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Label -> name of the words that are asked now."""
        if self.card.fixed is not None:
            return self.card.fixed.names
        if self._bank is None:
            raise ValueError("no words are set yet: call set_words('red star, grass') first")
        return self._bank.names

    def set_words(self, words: Words, background: BackgroundLike = None) -> WordBank:
        """Chooses what to look for; costs the text tower's time for words that are new, and nothing else.

        Args:
            words: as for :meth:`ovperc.Predictor.predict`.
            background: None, a confidence threshold, words of an explicit background, or both.

        Raises:
            ValueError: the words are empty, do not fit the text tower, or are baked into this file.
            FolderError: the text tower or its tokenizer is missing.
        """
        self._refuse_if_fixed()
        vocabulary = Vocabulary.parse(words, background)
        self.use_bank(
            WordBank(
                embeddings=self.encode_words(vocabulary.prompts),
                owners=np.asarray(vocabulary.owners),
                names=vocabulary.names,
                fingerprint=self.card.fingerprint,
                background=vocabulary.background,
            )
        )
        self._warn_of_unseen(vocabulary.prompts)
        return self._bank

    def use_bank(self, bank: Any) -> None:
        """Chooses words that are embedded already, by this runtime or by ovperc in Python.

        Raises:
            ValueError: the bank was made by another encoder, or holds nothing that can be asked.
        """
        self._refuse_if_fixed()
        self._bank = check_bank(bank, self.card)

    def predict(self, image: Any, words: Words | None = None, background: BackgroundLike = None) -> SegPrediction:
        """Segments one image.

        Args:
            image: ``(H, W, 3)`` uint8 RGB, or a path or PIL image. Frames of OpenCV are BGR: pass
                ``frame[:, :, ::-1]``.
            words: sets new words first; left out, those of :meth:`set_words`.
            background: policy of ``words``.

        Raises:
            TypeError, ValueError: an image of another kind, or of a size outside the profile.
        """
        source = str(image) if isinstance(image, (str, Path)) else None
        return self.predict_batch([image], words, background, [source])[0]

    def predict_batch(
        self,
        images: Sequence[Any],
        words: Words | None = None,
        background: BackgroundLike = None,
        sources: Sequence[str | None] | None = None,
    ) -> list[SegPrediction]:
        """Segments several images; neighbours of one size go through the model together."""
        if words is not None:
            self.set_words(words, background)
        arrays = [check_image(image, self.card.profile) for image in images]
        predictions: list[SegPrediction] = []
        while len(predictions) < len(arrays):
            begin = len(predictions)
            end = begin + 1
            longest = begin + (self.card.profile.max_batch or len(arrays))
            while end < min(len(arrays), longest) and arrays[end].shape == arrays[begin].shape:
                end += 1
            labels, confidence = self._run(np.stack(arrays[begin:end]))
            for index in range(begin, end):
                source = sources[index] if sources is not None else None
                predictions.append(self._prediction(labels[index - begin], confidence[index - begin], source))
        return predictions

    def stream(self, frames: Iterable[Any], latest: bool = True) -> Iterator[StreamResult[Any, SegPrediction]]:
        """Segments frames of a camera or video as they come; see :func:`ovperc.runtime.streaming.stream`."""
        return stream(frames, self.predict, latest)

    def _warn_of_unseen(self, words: Sequence[str]) -> None:
        unseen = self.encode_words.unseen(words)
        if unseen:
            warnings.warn(
                f"{self.card.weights} has never met {', '.join(map(repr, unseen))}: what it marks so is chance; "
                "use words it knows, or weights that know more",
                stacklevel=3,
            )

    def _run(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        feed = {"image": images, "logit_scale": np.asarray(self.card.logit_scale, np.float32)}
        fixed = self.card.fixed
        if fixed is None:
            _ = self.names  # says what to do when no words are set
            feed |= {"text": self._bank.embeddings, "owners": self._bank.owners}
            background = self._bank.background
        else:
            background = Background(fixed.background_words, fixed.background_threshold)
        feed["background_threshold"] = np.asarray(background.threshold, np.float32)
        feed["background_named"] = np.asarray(bool(background.words))
        labels, confidence = self._session.run(["labels", "confidence"], feed)
        if not np.isfinite(confidence).all():
            raise FloatingPointError("the model answered values that are not finite; use an fp32 export")
        return labels, confidence

    def _prediction(self, labels: np.ndarray, confidence: np.ndarray, source: str | None) -> SegPrediction:
        card = self.card
        metadata = {
            "weights": card.weights,
            "arch": card.arch,
            "fingerprint": card.fingerprint,
            "precision": card.precision,
            "ovperc": card.version,
        }
        return SegPrediction(labels, confidence, self.names, source, card.method, metadata)

    def _refuse_if_fixed(self) -> None:
        if self.card.fixed is not None:
            listed = ", ".join(self.card.fixed.names)
            raise ValueError(
                f"the words of this file are fixed ({listed}); export without --fixed-words to change them"
            )
