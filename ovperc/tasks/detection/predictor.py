"""Images and words in, boxes and masks out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ovperc.backbones.loading import ClipModel, load_clip
from ovperc.core.structures import TextBank
from ovperc.core.version import __version__
from ovperc.io.images import expand_sources, is_several, read_image
from ovperc.registry import PROPOSERS, TILERS
from ovperc.tasks.detection.encoded import RegionEmbeddings
from ovperc.tasks.detection.method import DetectionMethod
from ovperc.tasks.detection.phrases import composed_bank
from ovperc.tasks.detection.prediction import DetPrediction
from ovperc.tasks.detection.region_detector import RegionDetector, VlmReadout
from ovperc.tasks.detection.weights import TrainedHeads, read_heads
from ovperc.tasks.segmentation.predictor import ImageResult, PredictorInfo, image_results
from ovperc.text.encoder import TextEncoder
from ovperc.text.region_scores import Fusion
from ovperc.text.vocabulary import BackgroundLike, Vocabulary, Words
from ovperc.text.word_reader import WordReader
from ovperc.weights.caches import home


class DetPredictor(WordReader):
    """Finds objects with words; the words can be others at every call.

    Everything about an image that no word changes (boxes, embeddings, where masks come from) is kept by
    :meth:`encode`; :meth:`predict_encoded` then asks any words of it.

    Args:
        detector: the method on a tower.
        text_encoder: makes text banks with the text tower of the same weights.
        info: what predictions say they were made with.
        compose: phrases are the sum of their words.
        background: policy for words that bring none of their own.
    """

    def __init__(
        self,
        detector: RegionDetector,
        text_encoder: TextEncoder,
        info: PredictorInfo,
        compose: bool = False,
        background: BackgroundLike = None,
    ) -> None:
        super().__init__(text_encoder, info.weights, background)
        self.detector = detector
        self.info = info
        self.compose = compose

    @property
    def base_words(self) -> frozenset[str]:
        """Words that training knew, in lower case; none for a training-free detector."""
        trained = self.detector.trained
        return frozenset() if trained is None else trained.base_words

    def embed(self, vocabulary: Vocabulary) -> TextBank:
        """A new bank, with phrases as the sum of their words where the heads were trained so."""
        return composed_bank(self.text_encoder, vocabulary) if self.compose else super().embed(vocabulary)

    def predict(
        self, images: Any, words: Words, background: BackgroundLike = None
    ) -> DetPrediction | list[DetPrediction]:
        """Finds the named objects in one image or several.

        Args:
            images: path, address, PIL image, array ``(H, W[, C])`` or tensor ``(C, H, W)`` for one image; a folder,
                a list or a batch of four axes for several.
            words: list, ``"red star, car|automobile"``, ``{"car": ["automobile"]}``, a file, or a vocabulary.
            background: None, a least score, words of what is no object, or both.

        Returns:
            One :class:`DetPrediction`, or a list of them in the order of the images.

        Raises:
            ImageError: an image cannot be read; :meth:`predict_each` goes on with the others.
            ValueError: the words are empty or too long, or an option does not fit.
        """
        bank = self.bank(words, background)
        sources = expand_sources(images)
        answers = [self.predict_encoded(self.encode(source.load()), bank, source.name) for source in sources]
        return answers if is_several(images) else answers[0]

    def predict_each(self, images: Any, words: Words, background: BackgroundLike = None) -> Iterator[ImageResult]:
        """Images one after the other; one that fails is reported and the rest go on."""
        bank = self.bank(words, background)
        yield from image_results(
            images, lambda source, image: self.predict_encoded(self.encode(image), bank, source.name)
        )

    def predict_batch(self, images: Sequence[Any], bank: TextBank) -> list[DetPrediction]:
        """The same with an embedded vocabulary, for evaluations; each answer is independent of the others."""
        return [self.predict_encoded(self.encode(image), bank) for image in images]

    def encode(self, image: Any) -> RegionEmbeddings:
        """The half of the work that depends on the image only."""
        return self.detector.encode(image if _is_ready(image) else read_image(image))

    def predict_encoded(
        self, encoded: RegionEmbeddings, words: Words | TextBank, source: str | None = None
    ) -> DetPrediction:
        """Asks words of an encoded image: one matrix product, suppression, and masks of what is left.

        Args:
            encoded: from :meth:`encode`.
            words: as for :meth:`predict`, or a bank of :meth:`bank`.
            source: name of the image, for the prediction to carry.
        """
        bank = words if isinstance(words, TextBank) else self.bank(words)
        names = bank.names[int(bank.background.enabled) :]
        found = self.detector.detect(encoded, bank, [name.casefold() in self.base_words for name in names])
        masks = None if encoded.masks is None else encoded.masks.codes(found.rows.tolist())
        return DetPrediction(
            boxes=encoded.boxes[found.rows].cpu().numpy(),
            scores=found.scores.cpu().numpy(),
            labels=found.labels.cpu().numpy(),
            names=names,
            size_hw=encoded.size_hw,
            masks=masks,
            source=source,
            method=self.info.method,
            metadata={**asdict(self.info), "background": asdict(bank.background), "ovperc": __version__},
        )


def _is_ready(image: Any) -> bool:
    return isinstance(image, np.ndarray) and image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8


def load_detection(
    method: DetectionMethod,
    asked: frozenset[str] = frozenset(),
    *,
    weights: str | Path | None = None,
    arch: str | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    background: BackgroundLike = None,
) -> DetPredictor:
    """Loads a method of detection; :func:`ovperc.load` is the way in.

    Args:
        method: its config.
        asked: fields of it that the user set by hand: they win over what the weights ask for.
        weights, arch, device, dtype, background: as for :func:`ovperc.load`, checked.
    """
    clip = load_clip(arch, weights, pos_embed=method.pos_embed, device=device, dtype=dtype)
    method = method.on(clip.arch, asked)
    heads = None if method.heads is None else _on_device(read_heads(method.heads, **method.rpn), device)
    templates = method.templates if "templates" in asked else clip.templates or method.templates
    compose = method.compose if method.compose is not None else heads is not None and heads.compose
    return DetPredictor(
        build_detector(method, clip, heads),
        TextEncoder(clip.text, clip.fingerprint, templates, cache_dir=home() / "text"),
        PredictorInfo(
            method=method.name,
            weights=clip.source,
            arch=clip.arch,
            fingerprint=clip.fingerprint,
            device=str(device),
            dtype=str(dtype).removeprefix("torch."),
        ),
        compose=compose,
        background=background,
    )


def build_detector(method: DetectionMethod, clip: ClipModel, heads: TrainedHeads | None = None) -> RegionDetector:
    """Builds a method on a tower, with heads that are already read."""
    proposer = None
    if method.proposer is not None:
        settings = dict(method.proposer)
        mini = settings.pop("mini", None)
        if mini is not None and clip.arch == "clip-mini":
            settings |= mini
        proposer = PROPOSERS.build({**settings, "device": clip.backbone.device, "dtype": clip.backbone.dtype})
    return RegionDetector(
        clip,
        TILERS.build({"whole_patches": True, **method.tiler}),
        heads,
        proposer,
        VlmReadout(**method.vlm),
        Fusion(**method.fusion),
        method.nms_iou,
        method.keep,
        method.min_score,
    )


def _on_device(heads: TrainedHeads, device: torch.device | str) -> TrainedHeads:
    heads.heads.to(device)
    if heads.resnet is not None:
        heads.resnet.to(device)
    return heads
