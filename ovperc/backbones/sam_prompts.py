"""Prompting segment-anything: an image is embedded once, then points, boxes and masks are decoded in batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from segment_anything.modeling import Sam
from segment_anything.modeling.common import LayerNorm2d
from segment_anything.utils.transforms import ResizeLongestSide
from torch import Tensor
from torch.nn import functional as F

from ovperc.backbones.sam import SamBackbone
from ovperc.core.structures import DenseFeatures, Tap
from ovperc.tiling.preprocess import resize_image

MASK_LOGIT_GRID = 4
"""Mask logits and mask prompts have this many cells per patch of the encoder, on each axis."""


@dataclass(frozen=True)
class SamImage:
    """One embedded image.

    Attributes:
        embedding: ``(1, C, g, g)`` float32, the neck's output.
        input_hw: size of the image inside the padded square, in pixels.
        original_hw: size of the caller's image.
        features: other taps that were asked for, of the padded square.
    """

    embedding: Tensor
    input_hw: tuple[int, int]
    original_hw: tuple[int, int]
    features: DenseFeatures

    def without_features(self) -> SamImage:
        """What prompts need, without the memory of the other taps."""
        return replace(self, features=replace(self.features, taps={}))


@dataclass(frozen=True)
class Prompts:
    """A batch of prompts for one image; every row is answered by itself. Coordinates are pixels of the original image.

    Attributes:
        points: ``(P, k, 2)`` float32 x, y; None for none.
        labels: ``(P, k)`` 1 inside, 0 outside, -1 to ignore the point.
        boxes: ``(P, 4)`` float32 x0, y0, x1, y1.
        masks: ``(P, 1, 4g, 4g)`` float32 logits in the padded square.
    """

    points: Tensor | None = None
    labels: Tensor | None = None
    boxes: Tensor | None = None
    masks: Tensor | None = None

    def __post_init__(self) -> None:
        present = [part for part in (self.points, self.boxes, self.masks) if part is not None]
        if not present:
            raise ValueError("a prompt needs points, boxes or masks")
        if len({len(part) for part in present}) != 1:
            raise ValueError(f"points, boxes and masks must be equally many; got {[len(part) for part in present]}")
        if (self.points is None) != (self.labels is None):
            raise ValueError("points and labels come together: labels are 1 inside, 0 outside, -1 to ignore")

    def __len__(self) -> int:
        return len(next(part for part in (self.points, self.boxes, self.masks) if part is not None))

    def split(self, size: int) -> Iterator[Prompts]:
        """The same prompts in runs of at most ``size``."""
        for start in range(0, len(self), size):
            rows = slice(start, start + size)
            parts = (self.points, self.labels, self.boxes, self.masks)
            yield Prompts(*(None if part is None else part[rows] for part in parts))


def decode_masks(
    sam: Sam, embeddings: Tensor, image_of: Tensor, prompts: Prompts, *, height_norm: bool = False
) -> tuple[Tensor, Tensor]:
    """segment-anything's decoder on prompts of several images at once.

    ``MaskDecoder`` itself takes prompts of one image only; this is its ``predict_masks`` with a gather in place of
    the repetition.

    Args:
        sam: the model; prompt encoder and decoder are used.
        embeddings: ``(B, C, g, g)`` float32.
        image_of: ``(P,)`` int64, row of ``embeddings`` that each prompt belongs to.
        prompts: in pixels of the padded square.
        height_norm: mask prompts are normalised along the height, see :func:`embed_masks_by_height`.

    Returns:
        Logits ``(P, 1 + m, 4g, 4g)``, first the single mask and then the ``m`` alternatives, and predicted IoU
        ``(P, 1 + m)``.
    """
    points = None if prompts.points is None else (prompts.points, prompts.labels)
    by_height = height_norm and prompts.masks is not None
    sparse, dense = sam.prompt_encoder(points, prompts.boxes, None if by_height else prompts.masks)
    if by_height:
        dense = embed_masks_by_height(sam, prompts.masks)
    decoder = sam.mask_decoder
    fixed = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    tokens = torch.cat([fixed.expand(len(sparse), -1, -1), sparse], dim=1)
    source = embeddings[image_of] + dense
    places = sam.prompt_encoder.get_dense_pe().expand(len(sparse), -1, -1, -1)
    answers, mixed = decoder.transformer(source, places, tokens)
    count = decoder.num_mask_tokens
    upscaled = decoder.output_upscaling(mixed.transpose(1, 2).view(source.shape))
    weights = [layers(answers[:, 1 + i]) for i, layers in enumerate(decoder.output_hypernetworks_mlps[:count])]
    logits = torch.einsum("pmc,pchw->pmhw", torch.stack(weights, dim=1), upscaled)
    return logits, decoder.iou_prediction_head(answers[:, 0])


def embed_masks_by_height(sam: Sam, masks: Tensor) -> Tensor:
    """Mask prompts as Trident's released code embeds them, ``(P, 1, 4g, 4g) -> (P, C, g, g)``.

    It passes them without their batch axis, so that SAM's ``LayerNorm2d``, which reduces axis 1, runs along the
    height of the map and not over its channels.
    """
    x = masks
    for layer in sam.prompt_encoder.mask_downscaling:
        if isinstance(layer, LayerNorm2d):
            centred = x - x.mean(dim=2, keepdim=True)
            unit = centred / torch.sqrt(centred.square().mean(dim=2, keepdim=True) + layer.eps)
            x = layer.weight[:, None, None] * unit + layer.bias[:, None, None]
        else:
            x = layer(x)
    return x


class SamPrompter:
    """Embeds images and answers prompts, in pixels of the caller's image.

    Args:
        backbone: the loaded SAM.
        max_prompts: prompts per pass of the decoder, which bounds memory.
        height_norm: mask prompts are embedded as Trident's released code does, see :func:`embed_masks_by_height`.
    """

    def __init__(self, backbone: SamBackbone, max_prompts: int = 64, height_norm: bool = False) -> None:
        if max_prompts < 1:
            raise ValueError(f"max_prompts must be at least 1; got {max_prompts}")
        self.backbone = backbone
        self.max_prompts = max_prompts
        self.height_norm = height_norm

    @property
    def mask_grid(self) -> int:
        """Side of mask logits and mask prompts."""
        return MASK_LOGIT_GRID * self.backbone.image_size_px // self.backbone.stride_px

    def pixels(self, image: np.ndarray) -> tuple[Tensor, tuple[int, int]]:
        """SAM's own resize (longest side, antialiased), normalised and padded, and the size inside the padding.

        Args:
            image: ``(H, W, 3)`` uint8 RGB.
        """
        size_hw = ResizeLongestSide.get_preprocess_shape(*image.shape[:2], self.backbone.image_size_px)
        size_hw = (max(1, size_hw[0]), max(1, size_hw[1]))  # a side far shorter than the other rounds to none
        resized = resize_image(image, size_hw, "bilinear")
        tensor = torch.from_numpy(np.ascontiguousarray(resized)).to(self.backbone.device).permute(2, 0, 1)[None]
        return self.backbone.sam.preprocess(tensor.float()), (resized.shape[0], resized.shape[1])

    @torch.inference_mode()
    def embed(self, image: np.ndarray, taps: tuple[str, ...] = ()) -> SamImage:
        """Embeds an image once for any number of prompts.

        Args:
            image: ``(H, W, 3)`` uint8 RGB.
            taps: other taps to keep, such as ``("-1.q",)``.
        """
        pixels, input_hw = self.pixels(image)
        features = self.backbone.forward_dense(pixels, [Tap(-1, "final"), *taps])
        embedding = features["-1.final"].transpose(1, 2).unflatten(2, features.grid_hw).float()
        return SamImage(embedding, input_hw, (image.shape[0], image.shape[1]), features)

    @torch.inference_mode()
    def decode(self, image: SamImage, prompts: Prompts, *, multimask: bool = False) -> tuple[Tensor, Tensor]:
        """Answers prompts.

        Args:
            image: from :meth:`embed`.
            prompts: in pixels of the original image (mask prompts in the padded square).
            multimask: three alternatives instead of the single mask.

        Returns:
            Logits ``(P, m, 4g, 4g)`` of the padded square and predicted IoU ``(P, m)``.
        """
        answers = []
        for part in self._scaled(image, prompts).split(self.max_prompts):
            rows = torch.zeros(len(part), dtype=torch.int64, device=image.embedding.device)
            answers.append(decode_masks(self.backbone.sam, image.embedding, rows, part, height_norm=self.height_norm))
        logits, quality = (torch.cat(parts) for parts in zip(*answers, strict=True))
        wanted = slice(1, None) if multimask else slice(0, 1)
        return logits[:, wanted], quality[:, wanted]

    def upscale(self, image: SamImage, logits: Tensor, size_hw: tuple[int, int] | None = None) -> Tensor:
        """Logits ``(P, m, 4g, 4g)`` at the original size (or another), padding removed, in SAM's two bilinear steps."""
        side = self.backbone.image_size_px
        whole = F.interpolate(logits, (side, side), mode="bilinear", align_corners=False)
        inside = whole[..., : image.input_hw[0], : image.input_hw[1]]
        return F.interpolate(inside, size_hw or image.original_hw, mode="bilinear", align_corners=False)

    def _scaled(self, image: SamImage, prompts: Prompts) -> Prompts:
        """The same prompts in pixels of the padded square."""
        height, width = (new / old for new, old in zip(image.input_hw, image.original_hw, strict=True))
        scale = torch.tensor([width, height], device=image.embedding.device)
        points = None if prompts.points is None else prompts.points * scale
        boxes = None if prompts.boxes is None else prompts.boxes * scale.repeat(2)
        return Prompts(points, prompts.labels, boxes, prompts.masks)
