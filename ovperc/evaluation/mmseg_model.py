"""A dense segmenter as an mmsegmentation model, for mmseg's Runner, datasets and metrics.

Importing this module imports mmseg's models: call ``ovperc.training.compat.prepare_mmseg`` first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from mmengine.model import BaseDataPreprocessor
from mmengine.structures import PixelData
from mmseg.models.segmentors.base import BaseSegmentor
from mmseg.structures import SegDataSample
from torch import Tensor

from ovperc.core.structures import TextBank

if TYPE_CHECKING:
    from ovperc.tasks.segmentation.segmenter import DenseSegmenter


class HostImages(BaseDataPreprocessor):
    """A no-op preprocessor; the segmenter resizes and moves images itself."""

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Returns the batch unchanged."""
        return data


class OpenVocabularySegmentor(BaseSegmentor):
    """Wraps a ``DenseSegmenter`` and its text bank as an mmseg model.

    Args:
        segmenter: any training-free method.
        bank: text bank.
        channel_order: channel order of inputs whose data sample does not specify it; mmseg's pipelines use ``bgr``.
    """

    def __init__(self, segmenter: DenseSegmenter, bank: TextBank, channel_order: str = "bgr") -> None:
        super().__init__(data_preprocessor=HostImages())
        if channel_order not in ("rgb", "bgr"):
            raise ValueError(f"channel_order must be 'rgb' or 'bgr'; got {channel_order!r}")
        self.segmenter = segmenter
        self.bank = bank
        self.channel_order = channel_order

    def predict(
        self, inputs: Sequence[Tensor] | Tensor, data_samples: Sequence[SegDataSample] | None = None
    ) -> list[SegDataSample]:
        """Segments each image separately, at its own size.

        Args:
            inputs: ``(3, H, W)`` uint8 each.
            data_samples: receive ``pred_sem_seg``, ``(1, H, W)`` int32 labels of the bank's names.
        """
        samples = [SegDataSample() for _ in inputs] if data_samples is None else list(data_samples)
        for image, sample in zip(inputs, samples, strict=True):
            encoded = self.segmenter.encode(self._to_rgb(image, sample))
            labels = self.segmenter.segment(encoded, self.bank).labels
            sample.pred_sem_seg = PixelData(data=labels[None])
        return samples

    def _to_rgb(self, image: Tensor, sample: SegDataSample) -> np.ndarray:
        """``(3, H, W)`` uint8 in the sample's channel order to ``(H, W, 3)`` RGB."""
        pixels = image.permute(1, 2, 0).cpu().numpy()
        order = sample.metainfo.get("channel_order", self.channel_order)
        return np.ascontiguousarray(pixels if order == "rgb" else pixels[..., ::-1])

    def loss(self, inputs: Tensor, data_samples: Sequence[SegDataSample]) -> NoReturn:
        """Not supported, as the method is training-free."""
        raise NotImplementedError("a training-free method has no loss; train with a config of configs/train")

    def extract_feat(self, inputs: Tensor) -> NoReturn:
        """Not supported; use ``DenseSegmenter.encode``."""
        raise NotImplementedError("use segmenter.encode(image) for the features of an image")

    def encode_decode(self, inputs: Tensor, batch_data_samples: Sequence[SegDataSample]) -> NoReturn:
        """Not supported, as classes are scored in chunks."""
        raise NotImplementedError("scores of all classes are not kept; use predict for labels")

    def _forward(self, inputs: Tensor, data_samples: Sequence[SegDataSample] | None = None) -> NoReturn:
        raise NotImplementedError("call with mode='predict'")
