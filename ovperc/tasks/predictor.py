"""The predictor of every task: images and words in, predictions out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ovperc.core.version import __version__
from ovperc.io.image_sources import ImageSource, expand_sources, is_several
from ovperc.io.images import read_image

if TYPE_CHECKING:
    from ovperc.tasks.methods import ResolvedMethod
    from ovperc.tasks.prediction import Prediction


@dataclass(frozen=True)
class PredictorInfo:
    """What a predictor is made of; its predictions carry it.

    Attributes:
        method: name of the method.
        weights: where the weights came from.
        arch: architecture of the towers.
        fingerprint: of the text encoder; empty where there is none.
        device: where it computes.
        dtype: of the towers' weights.
    """

    method: str
    weights: str
    arch: str
    fingerprint: str
    device: str
    dtype: str

    @classmethod
    def of(cls, method: str, model: Any) -> PredictorInfo:
        """Of a method on a loaded model (:class:`ovperc.backbones.loading.ClipModel`, ``VisionModel``)."""
        backbone = model.backbone
        return cls(
            method=method,
            weights=model.source,
            arch=model.arch,
            fingerprint=getattr(model, "fingerprint", ""),
            device=str(backbone.device),
            dtype=str(backbone.dtype).removeprefix("torch."),
        )


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
    prediction: Any = None
    error: Exception | None = None


class Predictor(ABC):
    """What the predictors of all tasks share: the loop over images, and the split into image and words.

    Everything that depends on the image only is in :meth:`encode`, everything that depends on the words only in
    :meth:`query`; both are kept apart, so that an image is encoded once and answers any number of queries. Nothing of a
    call stays on the object: predictors may be shared by threads.

    Attributes:
        info: what predictions say they were made with.
        resolved: the method's settings and where each comes from; None for predictors that were built by hand.
    """

    info: PredictorInfo
    resolved: ResolvedMethod | None = None

    @abstractmethod
    def query(self, words: Any, **options: Any) -> Any:
        """Words, ready for :meth:`answer`; a query passes through.

        Raises:
            ValueError: words that do not fit.
        """

    @abstractmethod
    def encode_batch(self, images: Sequence[np.ndarray]) -> list[Any]:
        """The half of the work that depends on images only.

        Args:
            images: ``(H, W, 3)`` uint8 RGB each, of any sizes.

        Returns:
            One entry per image, in order; each equals :meth:`encode` of that image up to rounding.
        """

    @abstractmethod
    def answer(self, encoded: Any, query: Any, source: str | None = None) -> Prediction:
        """The prediction of an encoded image.

        Args:
            encoded: from :meth:`encode`.
            query: from :meth:`query`.
            source: name of the image, for the prediction to carry.
        """

    def encode(self, image: Any) -> Any:
        """The half of the work that depends on the image only.

        Args:
            image: one image as for :meth:`predict`.
        """
        return self.encode_batch([as_pixels(image)])[0]

    def predict(self, images: Any, words: Any, *, source: str | None = None, **options: Any) -> Any:
        """Predicts one image or several.

        Args:
            images: path, address, PIL image, array ``(H, W[, C])`` or tensor ``(C, H, W)`` for one image; a folder, a
                list or a batch of four axes for several.
            words: vocabulary of segmentation and detection, or the name of the inspected object.
            source: name of a single image that is an array, for its prediction to carry.
            **options: of :meth:`query`.

        Returns:
            One prediction, or a list of them in the order of the images.

        Raises:
            ImageError: an image cannot be read; :meth:`predict_each` goes on with the others.
            ValueError: the words are empty or too long, or an option does not fit.
        """
        query = self.query(words, **options)  # before any image, so that words that do not fit cost no time
        found = [
            self.answer(self.encode(entry.load()), query, source or entry.name) for entry in expand_sources(images)
        ]
        return found if is_several(images) else found[0]

    def predict_each(self, images: Any, words: Any, **options: Any) -> Iterator[ImageResult]:
        """Predicts images one after the other; an image that fails is reported and the rest go on.

        Args:
            images: as for :meth:`predict`, also a generator.
            words: as for :meth:`predict`.
            **options: of :meth:`query`.
        """
        query = self.query(words, **options)
        for source in expand_sources(images):
            image = None
            try:
                image = source.load()
                result = ImageResult(source, image, self.answer(self.encode(image), query, source.name))
            except (ValueError, TypeError, OSError) as error:
                result = ImageResult(source, image, error=error)
            yield result

    def predict_batch(self, images: Sequence[np.ndarray], words: Any, **options: Any) -> list[Any]:
        """Predicts images that are in memory, with forward passes shared where sizes allow it.

        Args:
            images: as for :meth:`encode_batch`.
            words: as for :meth:`predict`.
            **options: of :meth:`query`.
        """
        query = self.query(words, **options)
        return [self.answer(encoded, query) for encoded in self.encode_batch(images)]

    def predict_encoded(self, encoded: Any, words: Any, *, source: str | None = None, **options: Any) -> Any:
        """Asks words of an encoded image; no pass through the image tower.

        Args:
            encoded: from :meth:`encode`.
            words: as for :meth:`predict`.
            source: name of the image, for the prediction to carry.
            **options: of :meth:`query`.
        """
        return self.answer(encoded, self.query(words, **options), source)

    def metadata(self, **more: Any) -> dict[str, Any]:
        """What predictions carry along."""
        return {**asdict(self.info), **more, "ovperc": __version__}


def as_pixels(image: Any) -> np.ndarray:
    """An image as ``(H, W, 3)`` uint8 RGB; arrays of that form pass through untouched."""
    ready = isinstance(image, np.ndarray) and image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8
    return image if ready else read_image(image)
