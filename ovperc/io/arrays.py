"""Arrays of pixels, whatever their shape and range, as ``(H, W, 3)`` uint8 RGB."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from ovperc.core.errors import ImageError

# Rounding in a resize may leave [0, 1] by a little; more is another value range.
_FLOAT_SLACK = 1 / 255
_TOP_12_BITS = 4095


def is_tensor(value: Any) -> bool:
    """Whether it is a torch tensor, without importing torch to find out."""
    return type(value).__module__.partition(".")[0] == "torch" and hasattr(value, "detach")


def tensor_to_array(tensor: Any) -> np.ndarray:
    """A tensor's values; floats as float32, which numpy knows."""
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.is_floating_point() else tensor).numpy()


def wide_grey(values: np.ndarray) -> np.ndarray:
    """Values of a 32-bit grey file scaled by their range, as such a file does not tell its white.

    Args:
        values: ``(H, W)`` int32 or float32.

    Returns:
        ``(H, W)`` integers in 0..255, uint16, or floats in ``[0, 1]``; as given where none of these fits.
    """
    top = float(values.max(initial=0))
    if values.dtype.kind == "f":
        return values / 255 if 1 + _FLOAT_SLACK < top <= 255 else values
    return values.astype(np.uint16) if 255 < top <= 65535 and values.min() >= 0 else values


def array_to_rgb(array: np.ndarray, name: str = "the image", channels_first: bool = False) -> np.ndarray:
    """Checks shape and values.

    Args:
        array: ``(H, W)`` or ``(H, W, 1 | 3 | 4)``; four channels are blended over white by the last.
        name: of the image, for messages.
        channels_first: whether ``(1 | 3 | 4, H, W)`` is read too, and first.

    Returns:
        ``(H, W, 3)`` uint8, C-contiguous.

    Raises:
        ImageError: another shape, value range or type.
    """
    shape = tuple(array.shape)
    if array.ndim == 3 and channels_first and shape[0] in (1, 3, 4):
        array = np.moveaxis(array, 0, -1)
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[-1] not in (1, 3, 4):
        hint = " (channels first? use np.moveaxis(image, 0, -1))" if len(shape) == 3 and shape[0] in (1, 3, 4) else ""
        hint = " (a batch? pass its images one by one or as a list)" if len(shape) == 4 else hint
        raise ImageError(f"an image array is (H, W) or (H, W, 1, 3 or 4); got shape {shape}{hint}")
    if 0 in shape:
        raise ImageError(f"the image is empty: shape {shape}")
    array = _to_uint8(array, name)
    if array.shape[-1] == 4:
        alpha = array[:, :, 3:].astype(np.uint32)
        array = ((array[:, :, :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    elif array.shape[-1] == 1:
        array = np.repeat(array, 3, axis=2)
    return np.ascontiguousarray(array)


def _to_uint8(array: np.ndarray, name: str) -> np.ndarray:
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind == "b":
        return array.astype(np.uint8) * 255
    if array.dtype == np.uint16:
        return _upper_byte(array, name)
    if array.dtype.kind not in "iuf":
        raise ImageError(f"image values must be numbers; got an array of {array.dtype}")
    low, high = float(array.min()), float(array.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ImageError("the image holds values that are not finite (NaN or infinity)")
    if array.dtype.kind == "f":
        if low < -_FLOAT_SLACK or high > 1 + _FLOAT_SLACK:
            raise ImageError(
                f"a float image lies in [0, 1]; got {low:.3g}..{high:.3g} (pass uint8 for 0..255; undo a normalisation)"
            )
        return (np.clip(array, 0, 1) * 255 + 0.5).astype(np.uint8)
    if low < 0 or high > 255:
        raise ImageError(
            f"an image of {array.dtype} lies in 0..255; got {low:.0f}..{high:.0f} (pass uint16 for 16 bits)"
        )
    return array.astype(np.uint8)


def _upper_byte(array: np.ndarray, name: str) -> np.ndarray:
    top = int(array.max())
    if 0 < top <= _TOP_12_BITS:
        bits = next(bits for bits in (8, 10, 12) if top < 2**bits)
        warnings.warn(
            f"{name} has 16 bits and no value above {top}: nearly black. If its camera writes {bits} bits, "
            f"multiply by {2 ** (16 - bits)} before, for all images alike",
            stacklevel=2,
        )
    return (array >> 8).astype(np.uint8)
