"""Towers in half precision or 8-bit integers; pixels, stitching and classification stay in float32."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import onnx

PRECISIONS: tuple[str, ...] = ("fp32", "fp16", "int8")
# Sums over channels and exponentials: float16 has 10 bits for them.
_KEEP_FLOAT32 = ("LayerNormalization", "Softmax", "ReduceL2", "ReduceSum", "ReduceMean", "Sqrt", "Div", "Resize", "Pow")
_NORMALISED = ("Clip", "Expand")


def converter(precision: str) -> Callable[[onnx.ModelProto], onnx.ModelProto] | None:
    """What brings a traced tower to a precision; ``None`` where nothing is to be done."""
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}; got {precision!r}")
    return {"fp32": None, "fp16": to_half, "int8": to_int8}[precision]


def to_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Weights and matrix products in float16; inputs, outputs, norms and softmax in float32."""
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        blocked = [*DEFAULT_OP_BLOCK_LIST, *_KEEP_FLOAT32, *_NORMALISED]
        return convert_float_to_float16(model, keep_io_types=True, op_block_list=blocked)


def to_int8(model: onnx.ModelProto) -> onnx.ModelProto:
    """Weights of all matrix products in int8 per channel, their inputs in uint8 by their range at run time.

    Convolutions, norms, attention products and everything between stay in float32. Ranges at run time need no
    calibration and follow each image; :func:`to_static_int8` fixes them by calibration instead.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder, _quiet():
        target = Path(folder) / "int8.onnx"
        quantize_dynamic(
            model,
            target,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            weight_type=QuantType.QInt8,
            extra_options={"MatMulConstBOnly": True},
        )
        return onnx.load(target)


def to_static_int8(model: onnx.ModelProto, windows: Sequence[np.ndarray]) -> onnx.ModelProto:
    """As :func:`to_int8`, with ranges of the inputs fixed by calibration.

    Args:
        model: a traced tower with the input ``windows``.
        windows: ``(T, 3, h, w)`` float32 each, normalised, of images like those to come.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class _Reader(CalibrationDataReader):
        def __init__(self, batches: Iterable[np.ndarray]) -> None:
            self._batches = iter(batches)

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self._batches, None)
            return None if batch is None else {"windows": batch}

    with tempfile.TemporaryDirectory() as folder, _quiet():
        source, target = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        onnx.save(model, source)
        quantize_static(
            source,
            target,
            _Reader(windows),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            extra_options={"MatMulConstBOnly": True},
        )
        return onnx.load(target)


class _quiet:
    """Keeps the quantiser's advice off the root logger."""

    def __enter__(self) -> None:
        self._level = logging.getLogger().level
        logging.getLogger().setLevel(logging.ERROR)

    def __exit__(self, *_: object) -> None:
        logging.getLogger().setLevel(self._level)
