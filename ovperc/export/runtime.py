"""Asks an exported folder any words: numpy, onnxruntime and Pillow, no torch.

from ovperc.export import runtime

model = runtime.load("exports/maskclip")
model.set_words("red star, grass|lawn", background=0.3)
prediction = model.predict("photo.jpg")
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from ovperc.data.images import read_image
from ovperc.export.card import MERGES_NAME, MODEL_STEM, TEXT_STEM, Card, FolderError, file_name
from ovperc.export.streaming import StreamResult, stream
from ovperc.export.tokenizer import Tokenizer
from ovperc.export.word_bank import WordBank
from ovperc.naming import suggest
from ovperc.predictions import SegPrediction
from ovperc.text.templates import TemplateSet
from ovperc.text.vocabulary import BackgroundLike, Vocabulary, Words

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}
_SENTENCES_PER_CALL = 256


def load(
    folder: str | Path,
    providers: str | Sequence[Any] = "cpu",
    threads: int | None = None,
    verify: bool = True,
) -> ExportedSegmenter:
    """Opens an exported folder.

    Args:
        folder: made by ``tools/export.py``. One of ``--format torch`` needs torch to run.
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
    return ExportedSegmenter(folder, card, _providers(providers, card.kind), threads)


class ExportedSegmenter:
    """A method that was exported, with the interface of :class:`ovperc.Predictor` where it can have it.

    Args:
        folder: of the files.
        card: of the folder.
        providers: onnxruntime's.
        threads: CPU threads; ``None`` for all cores.
    """

    def __init__(self, folder: Path, card: Card, providers: list[Any], threads: int | None = None) -> None:
        if threads is not None and threads < 1:
            raise ValueError(f"threads must be at least 1; got {threads}")
        self.card = card
        self._folder = folder
        self._providers = providers
        self._threads = threads
        self._session = self._open(file_name(MODEL_STEM, card.kind))
        self._text: Any = None
        self._tokenizer: Tokenizer | None = None
        self._templates = TemplateSet("card", card.templates, frozenset(card.mass_nouns))
        self._embedded: dict[str, np.ndarray] = {}
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
        bank = WordBank.of(bank)
        if bank.fingerprint != self.card.fingerprint:
            raise ValueError(
                f"the word bank was made by encoder {bank.fingerprint!r}, this file by {self.card.fingerprint!r}; "
                "encode the words again with this folder's text tower"
            )
        if bank.embeddings.shape[1] != self.card.embed_dim:
            raise ValueError(f"the word bank has {bank.embeddings.shape[1]} channels, this file {self.card.embed_dim}")
        self._bank = bank

    def encode_words(self, words: Sequence[str]) -> np.ndarray:
        """Words in all sentences of the card to unit rows ``(len(words), E)`` float32; each word once."""
        missing = [word for word in dict.fromkeys(words) if word not in self._embedded]
        step = max(1, _SENTENCES_PER_CALL // len(self._templates))
        for begin in range(0, len(missing), step):
            chunk = missing[begin : begin + step]
            sentences = [sentence for word in chunk for sentence in self._templates.expand(word)]
            rows = self._encode_sentences(sentences)
            means = rows.reshape(len(chunk), len(self._templates), -1).mean(axis=1)
            means /= np.linalg.norm(means, axis=1, keepdims=True)
            self._embedded.update(zip(chunk, means, strict=True))
        return np.stack([self._embedded[word] for word in words])

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
        arrays = [self._checked(image) for image in images]
        predictions: list[SegPrediction] = []
        while len(predictions) < len(arrays):
            begin = len(predictions)
            end = begin + 1
            while end < len(arrays) and arrays[end].shape == arrays[begin].shape:
                end += 1
            labels, confidence = self._run(np.stack(arrays[begin:end]))
            for index in range(begin, end):
                source = sources[index] if sources is not None else None
                predictions.append(self._prediction(labels[index - begin], confidence[index - begin], source))
        return predictions

    def stream(self, frames: Iterable[Any], latest: bool = True) -> Iterator[StreamResult[Any, SegPrediction]]:
        """Segments frames of a camera or video as they come; see :func:`ovperc.export.streaming.stream`."""
        return stream(frames, self.predict, latest)

    def _warn_of_unseen(self, words: Sequence[str]) -> None:
        if self.card.known_tokens is None:
            return
        known = set(self.card.known_tokens)
        unseen = [word for word in words if not known.issuperset(self._open_text().encode(word))]
        if unseen:
            warnings.warn(
                f"{self.card.weights} has never met {', '.join(map(repr, unseen))}: what it marks so is chance; "
                "use words it knows, or weights that know more",
                stacklevel=3,
            )

    def _run(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        feed = {"image": images, "logit_scale": np.asarray(self.card.logit_scale, np.float32)}
        if self.card.fixed is None:
            _ = self.names  # says what to do when no words are set
            feed |= {"text": self._bank.embeddings, "owners": self._bank.owners}
            threshold = self._bank.background.threshold
        else:
            threshold = self.card.fixed.background_threshold
        feed["background_threshold"] = np.asarray(threshold, np.float32)
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

    def _checked(self, image: Any) -> np.ndarray:
        """The image as an array that the graph takes."""
        if not isinstance(image, np.ndarray):
            image = read_image(image)
        if image.dtype != np.uint8:
            raise TypeError(f"image must be uint8 with values 0..255; got {image.dtype}")
        if image.ndim != 3 or image.shape[2] != 3:
            hint = "; it looks channels first: transpose(1, 2, 0)" if image.ndim == 3 and image.shape[0] == 3 else ""
            raise ValueError(f"image must be (H, W, 3) RGB; got shape {image.shape}{hint}")
        self.card.profile.check(image.shape[:2])
        return np.ascontiguousarray(image)

    def _encode_sentences(self, sentences: list[str]) -> np.ndarray:
        tokenizer = self._open_text()
        return self._text.run(None, {"tokens": tokenizer(sentences)})[0]

    def _open_text(self) -> Tokenizer:
        """The tokenizer; opens it and the text tower at the first use."""
        if self._tokenizer is not None:
            return self._tokenizer
        for name in (file_name(TEXT_STEM, self.card.kind), MERGES_NAME):
            if not (self._folder / name).is_file():
                raise FolderError(
                    f"{name} is missing from {str(self._folder)!r}, so words cannot be embedded here; copy it from "
                    "where the folder was made, or pass embedded words to use_bank"
                )
        self._text = self._open(file_name(TEXT_STEM, self.card.kind))
        self._tokenizer = Tokenizer(self._folder / MERGES_NAME, self.card.context_length)
        return self._tokenizer

    def _open(self, name: str) -> Any:
        if self.card.kind == "torch":
            return self._open_program(name)
        options = ort.SessionOptions()
        options.log_severity_level = 3
        if self._threads is not None:
            options.intra_op_num_threads = self._threads
        try:
            return ort.InferenceSession(str(self._folder / name), options, providers=self._providers)
        except Exception as error:
            raise FolderError(f"onnxruntime cannot open {str(self._folder / name)!r}: {error}") from error

    def _open_program(self, name: str) -> Any:
        from ovperc.export.torch_export import TorchSession

        device = {"CUDAExecutionProvider": "cuda"}.get(_name_of(self._providers[0]), "cpu")
        return TorchSession(self._folder / name, device)

    def _refuse_if_fixed(self) -> None:
        if self.card.fixed is not None:
            listed = ", ".join(self.card.fixed.names)
            raise ValueError(
                f"the words of this file are fixed ({listed}); export without --fixed-words to change them"
            )


def _name_of(provider: Any) -> str:
    return provider if isinstance(provider, str) else provider[0]


def _providers(wanted: str | Sequence[Any], kind: str) -> list[Any]:
    entries = [wanted] if isinstance(wanted, str) else list(wanted)
    available = ort.get_available_providers()
    found = []
    for entry in entries:
        name, options = _name_of(entry), [] if isinstance(entry, str) else list(entry)[1:]
        name = _PROVIDERS.get(name, name)
        if kind == "onnx" and name not in available:
            known = [*_PROVIDERS, *available]
            raise ValueError(
                f"this onnxruntime has no provider {name!r} (it has {', '.join(available)}); "
                + (suggest(name, known) if name not in _PROVIDERS.values() else "install onnxruntime-gpu for it")
            )
        found.append((name, *options) if options else name)
    return found
