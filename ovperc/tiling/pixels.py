"""Pixel resize and normalisation, shared by training, prediction and export."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor


def resize_image(image: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Resizes as the published evaluations do: OpenCV bilinear, no antialiasing.

    Args:
        image: ``(H, W, 3)`` or ``(H, W)`` uint8.
        size_hw: wanted height and width in pixels.

    Returns:
        The image at ``size_hw``, uint8; the input itself where the size is already right.

    Raises:
        TypeError: for an array that is not uint8.
        ValueError: for an image or a size without pixels.
    """
    if image.dtype != np.uint8:
        raise TypeError(f"image must be uint8; got {image.dtype}. Read it with ovperc.io.images.read_image")
    height, width = size_hw
    if image.size == 0 or min(height, width) < 1:
        raise ValueError(f"cannot resize an image of shape {image.shape} to height {height}, width {width}")
    if image.shape[:2] == (height, width):
        return image
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)


def normalize(
    image: np.ndarray | Tensor,
    mean: Sequence[float],
    std: Sequence[float],
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """``(x / 255 - mean) / std`` per channel, computed in float32.

    Args:
        image: ``(H, W, 3)`` uint8 RGB.
        mean: three channel means in 0..1, RGB.
        std: three channel deviations in 0..1, RGB.
        device: where the result lives; the bytes travel, not the floats.
        dtype: type of the result.

    Returns:
        ``(1, 3, H, W)``.
    """
    pixels = torch.from_numpy(np.ascontiguousarray(image)) if isinstance(image, np.ndarray) else image
    if pixels.ndim != 3 or pixels.shape[-1] != 3 or pixels.dtype != torch.uint8:
        raise ValueError(f"image must be (H, W, 3) uint8 RGB; got {tuple(pixels.shape)} {pixels.dtype}")
    channels = pixels.to(device).permute(2, 0, 1)[None].to(torch.float32, memory_format=torch.contiguous_format)
    offset = torch.tensor(mean, dtype=torch.float32, device=device).view(1, 3, 1, 1)
    spread = torch.tensor(std, dtype=torch.float32, device=device).view(1, 3, 1, 1)
    return channels.sub_(offset * 255).div_(spread * 255).to(dtype)
