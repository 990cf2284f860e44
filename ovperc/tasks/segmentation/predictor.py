"""One object between a user and the parts: images and words in, predictions out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ovperc.backbones.loading import load_clip
from ovperc.core.version import __version__
from ovperc.io.images import ImageSource, expand_sources, is_several, read_image
from ovperc.tasks.methods import MethodConfig
from ovperc.tasks.segmentation.build import build_segmenter
from ovperc.tasks.segmentation.prediction import SegPrediction
from ovperc.tasks.segmentation.segmenter import DenseSegmenter, ImageEmbeddings
from ovperc.text.encoder import TextEncoder
from ovperc.text.vocabulary import BackgroundLike, Vocabulary, Words
from ovperc.text.word_reader import WordReader
from ovperc.weights.caches import home

if TYPE_CHECKING:
    from ovperc.tasks.segmentation.regions import RegionLabels

_CPU = torch.device("cpu")


@dataclass(frozen=True)
class PredictorInfo:
    """What a predictor is made of; its predictions carry it.

    Attributes:
        method: name of the method.
        weights: where the weights came from.
        arch: architecture of the towers.
        fingerprint: of the text encoder.
        device: where it computes.
        dtype: of the towers' weights.
    """

    method: str
    weights: str
    arch: str
    fingerprint: str
    device: str
    dtype: str


@dataclass(frozen=True)
class ImageResult:
    """What became of one image of several.

    Attributes:
        source: the image.
        image: its pixels, ``(H, W, 3)`` uint8 RGB; None if it could not be read.
        prediction: the answer; None where ``error`` tells why not.
        error: what went wrong.
    """

    source: ImageSource
    image: np.ndarray | None = None
    prediction: SegPrediction | None = None
    error: Exception | None = None


def image_results(images: Any, predict: Callable[[ImageSource, np.ndarray], Any]) -> Iterator[ImageResult]:
    """Images one after the other; one that fails is reported and the rest go on.

    Args:
        images: as for :meth:`Predictor.predict`, also a generator.
        predict: makes the prediction of a source from its pixels.
    """
    for source in expand_sources(images):
        try:
            image = source.load()
            outcome = ImageResult(source, image, predict(source, image))
        except (ValueError, TypeError, OSError) as error:
            outcome = ImageResult(source, error=error)
        yield outcome


class Predictor(WordReader):
    """Segments images with words.

    Everything left of the words depends on the image only, everything in a text bank on the words only, so
    both are kept apart: :meth:`encode` an image once and :meth:`predict_encoded` any number of vocabularies.

    Args:
        segmenter: the method on an image tower.
        text_encoder: makes text banks with the text tower of the same weights.
        info: what predictions say they were made with.
        background: policy for words that bring none of their own.
    """

    def __init__(
        self,
        segmenter: DenseSegmenter,
        text_encoder: TextEncoder,
        info: PredictorInfo,
        background: BackgroundLike = None,
    ) -> None:
        super().__init__(text_encoder, info.weights, background)
        self.segmenter = segmenter
        self.info = info

    def predict(
        self, images: Any, words: Words, background: BackgroundLike = None
    ) -> SegPrediction | list[SegPrediction]:
        """Segments one image or several.

        Args:
            images: path, address, PIL image, array ``(H, W[, C])`` or tensor ``(C, H, W)`` for one image;
                a folder, a list or a batch of four axes for several.
            words: list, ``"red star, grass|lawn"``, ``{"grass": ["lawn"]}``, a file, or a vocabulary.
            background: None, a confidence threshold, words of an explicit background, or both.

        Returns:
            One :class:`SegPrediction`, or a list of them in the order of the images.

        Raises:
            ImageError: an image cannot be read; :meth:`predict_each` goes on with the others.
            ValueError: the words are empty or too long, or an option does not fit.
        """
        vocabulary = self.vocabulary(words, background)
        self.bank(vocabulary)  # before any image, so that words that do not fit cost no time
        answers = [self._segment(source, source.load(), vocabulary) for source in expand_sources(images)]
        return answers if is_several(images) else answers[0]

    def predict_each(self, images: Any, words: Words, background: BackgroundLike = None) -> Iterator[ImageResult]:
        """Segments images one after the other; an image that fails is reported and the rest go on.

        Args:
            images: as for :meth:`predict`, also a generator.
            words: as for :meth:`predict`.
            background: as for :meth:`predict`.
        """
        vocabulary = self.vocabulary(words, background)
        self.bank(vocabulary)
        yield from image_results(images, lambda source, image: self._segment(source, image, vocabulary))

    def _segment(self, source: ImageSource, image: np.ndarray, vocabulary: Vocabulary) -> SegPrediction:
        return self.predict_encoded(self.encode(image), vocabulary, source=source.name)

    def encode(self, image: Any) -> ImageEmbeddings:
        """The half of the work that depends on the image only."""
        return self.segmenter.encode(read_image(image))

    def predict_encoded(
        self, encoded: ImageEmbeddings, words: Words, background: BackgroundLike = None, source: str | None = None
    ) -> SegPrediction:
        """Asks words of an encoded image; costs one matrix product, no pass through the image tower.

        Args:
            encoded: from :meth:`encode`.
            words: as for :meth:`predict`.
            background: as for :meth:`predict`.
            source: name of the image, for the prediction to carry.
        """
        bank = self.bank(words, background)
        answer = self.segmenter.segment(encoded, bank)
        geometry = encoded.stitcher.geometry
        sizes = {"resized_hw": geometry.resized_hw, "window_hw": geometry.crop_hw, "windows": geometry.num_tiles}
        return SegPrediction(
            labels=answer.labels.cpu().numpy(),
            confidence=answer.confidence.cpu().numpy(),
            names=bank.names,
            source=source,
            method=self.info.method,
            metadata={
                **asdict(self.info),
                **sizes,
                "background": asdict(bank.background),
                "ovperc": __version__,
                **answer.notes,
            },
        )

    def classify_regions(
        self, image: Any, regions: Any, words: Words, background: BackgroundLike = None
    ) -> RegionLabels:
        """Names given regions, by the mean of the image's dense features inside each.

        Args:
            image: one image as for :meth:`predict`, or an encoded one.
            regions: boxes ``(R, 4)`` ``x0, y0, x1, y1`` in pixels of the image, or masks ``(R, H, W)`` bool.
            words: as for :meth:`predict`.
            background: as for :meth:`predict`.

        Raises:
            ValueError: a region that is not finite, or holds no pixel of the image.
        """
        from ovperc.tasks.segmentation.regions import classify_regions

        encoded = image if isinstance(image, ImageEmbeddings) else self.encode(image)
        return classify_regions(self.segmenter, encoded, regions, self.bank(words, background))

    def scores(self, image: Any, words: Words, background: BackgroundLike = None, *, raw: bool = False) -> Tensor:
        """Dense class scores: as large as it says, made only on request.

        Args:
            image: one image as for :meth:`predict`, or an encoded one.
            words: as for :meth:`predict`.
            background: as for :meth:`predict`.
            raw: True for cosines, False for softmax probabilities over all prompts.

        Returns:
            ``(C, H, W)`` float32 in label order, background included, at the size of the image.
        """
        encoded = image if isinstance(image, ImageEmbeddings) else self.encode(image)
        return self.segmenter.scores(encoded, self.bank(words, background), raw=raw)


def load_segmentation(
    method: MethodConfig,
    asked: frozenset[str] = frozenset(),
    *,
    weights: str | Path | None = None,
    arch: str | None = None,
    device: torch.device = _CPU,
    dtype: torch.dtype = torch.float32,
    background: BackgroundLike = None,
) -> Predictor:
    """Loads a method of segmentation; :func:`load` is the way in.

    Args:
        method: its config.
        asked: fields of it that the user set by hand: they win over what the weights were trained on, and that wins
            over the method's own.
        weights, arch, device, dtype, background: as for :func:`load`, checked.
    """
    clip = load_clip(arch, weights, pos_embed=method.pos_embed, device=device, dtype=dtype)
    # Spliced features need whole patches in any view.
    view = {} if clip.view is None or asked & {"tiler", "native_px"} else {"tiler": {**clip.view, **_splicing(method)}}
    templates = method.templates if "templates" in asked else clip.templates or method.templates
    return Predictor(
        segmenter=build_segmenter(method, clip, **view),
        text_encoder=TextEncoder(clip.text, clip.fingerprint, templates, cache_dir=home() / "text"),
        info=PredictorInfo(
            method=method.name,
            weights=clip.source,
            arch=clip.arch,
            fingerprint=clip.fingerprint,
            device=str(device),
            dtype=str(dtype).removeprefix("torch."),
        ),
        background=background,
    )


def _splicing(method: MethodConfig) -> dict[str, Any]:
    return {"whole_patches": True} if method.tiler.get("whole_patches") else {}
