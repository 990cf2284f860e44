"""From the caller's pixels to a tower's input: the one table of resize rules, and the normalisation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ovperc.core.naming import suggest
from ovperc.tiling.tiler import Tiler

WEIGHTS_RULE = "weights"
"""The rule that the weights were trained with, as their :class:`Preprocess` says."""


def _opencv(image: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    return cv2.resize(image, size_hw[::-1], interpolation=cv2.INTER_LINEAR)


def _pillow(filter_: Image.Resampling, image: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Columns before rows: Pillow below 13 always takes that order, later ones choose, and rounding differs."""
    height, width = size_hw
    across = Image.fromarray(image).resize((width, image.shape[0]), filter_)
    return np.array(across.resize((width, height), filter_))


RESIZE_RULES: Mapping[str, Callable[[np.ndarray, tuple[int, int]], np.ndarray]] = MappingProxyType(
    {
        "opencv": _opencv,
        "bilinear": partial(_pillow, Image.Resampling.BILINEAR),
        "bicubic": partial(_pillow, Image.Resampling.BICUBIC),
        "lanczos": partial(_pillow, Image.Resampling.LANCZOS),
    }
)
"""``opencv`` is bilinear without antialiasing, as the published segmentation evaluations resize; the others are
Pillow's antialiased filters."""


@dataclass(frozen=True)
class Preprocess:
    """What weights ask of an image.

    Attributes:
        mean, std: per channel, RGB in 0..1.
        image_size_px: side of the square that the tower was trained on.
        interpolation: filter of the resize, ``bicubic`` or ``bilinear`` in all published weights; ``random`` (of
            training) is ``bicubic`` in evaluation, as in open_clip.
        resize_mode: open_clip's: ``shortest`` brings the shorter side to a size, ``longest`` the longer one, ``squash``
            both, whatever the aspect.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    image_size_px: int
    interpolation: str = "bicubic"
    resize_mode: str = "shortest"

    def apply(
        self, image: np.ndarray, size_hw: tuple[int, int], rule: str, device: torch.device | str = "cpu"
    ) -> Tensor:
        """Resizes and normalises an image.

        Args:
            image: ``(H, W, 3)`` uint8 RGB.
            size_hw: wanted height and width, px.
            rule: of :data:`RESIZE_RULES`; :func:`choose_resize` turns ``"weights"`` into one.
            device: where the result lives.

        Returns:
            ``(1, 3, h, w)`` float32.
        """
        return normalize(resize_image(image, size_hw, rule), self.mean, self.std, device)


def check_resize(rule: str) -> str:
    """Returns a rule that methods may name.

    Raises:
        ValueError: an unknown rule; near matches are offered.
    """
    known = (*RESIZE_RULES, WEIGHTS_RULE)
    if rule not in known:
        raise ValueError(f"unknown resize {rule!r}; {suggest(str(rule), known)}")
    return rule


def choose_resize(rule: str, preprocess: Preprocess, tiler: Tiler) -> str:
    """The rule of :data:`RESIZE_RULES` for a method on a tower.

    Args:
        rule: of the method; ``"weights"`` takes the tower's own.
        preprocess: of the tower.
        tiler: of the method; with ``"weights"``, it has to resize in the mode that the weights ask for.

    Raises:
        ValueError: an unknown rule, or a mode that the tiler does not resize in.
    """
    if check_resize(rule) != WEIGHTS_RULE:
        return rule
    if preprocess.resize_mode != tiler.resize_mode:  # cropping to a square, as open_clip goes on, would lose pixels
        raise ValueError(
            f"resize='weights': the weights ask for resize_mode {preprocess.resize_mode!r}, but the method's "
            f"{type(tiler).__name__} resizes by {tiler.resize_mode!r}. Use a SquareTiler for 'squash' or a Tiler with "
            "short_side_px for 'shortest' (there is none for 'longest'), or name the filter alone, such as "
            f"resize={preprocess.interpolation!r}"
        )
    return check_resize("bicubic" if preprocess.interpolation == "random" else preprocess.interpolation)


def resize_image(image: np.ndarray, size_hw: tuple[int, int], rule: str = "opencv") -> np.ndarray:
    """Resizes by a rule of :data:`RESIZE_RULES`.

    Args:
        image: ``(H, W, 3)`` or ``(H, W)`` uint8.
        size_hw: wanted height and width in pixels.
        rule: its name.

    Returns:
        The image at ``size_hw``, uint8; the input itself where the size is already right.

    Raises:
        TypeError: for an array that is not uint8.
        ValueError: for an unknown rule, or an image or a size without pixels.
    """
    if rule not in RESIZE_RULES:
        raise ValueError(f"unknown resize {rule!r}; {suggest(str(rule), RESIZE_RULES)}")
    if image.dtype != np.uint8:
        raise TypeError(f"image must be uint8; got {image.dtype}. Read it with ovperc.io.images.read_image")
    height, width = size_hw
    if image.size == 0 or min(height, width) < 1:
        raise ValueError(f"cannot resize an image of shape {image.shape} to height {height}, width {width}")
    return image if image.shape[:2] == (height, width) else RESIZE_RULES[rule](image, (height, width))


def resize_mask(mask: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """A mask at another size, as the published anomaly evaluations resize it: bilinear by Pillow, then above a half.

    Args:
        mask: ``(H, W)`` bool.
        size_hw: wanted height and width in pixels.

    Returns:
        ``(h, w)`` bool.
    """
    if mask.shape == tuple(size_hw):
        return mask.astype(bool)
    return resize_image(mask.astype(np.uint8) * 255, size_hw, "bilinear") > 127


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
