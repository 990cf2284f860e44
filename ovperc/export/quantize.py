"""Towers with weights in half precision or 8-bit integers; pixels, stitching and classification stay in float32."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import onnx
from onnx import numpy_helper

from ovperc.export.tracing import ENCODER, Traced
from ovperc.runtime.manifest import PRECISIONS

# Small tensors (biases, norms) keep float32: they weigh nothing.
_MIN_WEIGHTS = 1024
T = TypeVar("T", bound=Traced)


def check_precision(precision: str) -> None:
    """Raises ValueError for an unknown precision."""
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}; got {precision!r}")


def in_precision(traced: T, precision: str, feeds: Sequence[Mapping[str, np.ndarray]] = ()) -> T:
    """Traced modules in a precision.

    Args:
        traced: in fp32.
        precision: ``fp32``, ``fp16`` or ``int8``.
        feeds: inputs of the encoder that fix the activation ranges of its int8; none leaves them to every image.
    """
    check_precision(precision)
    if precision == "fp32":
        return traced
    converted = traced.converted(to_half if precision == "fp16" else to_int8)
    if not feeds:
        return converted
    return replace(converted, models={**converted.models, ENCODER: to_static_int8(traced.models[ENCODER], feeds)})


def to_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Weights in float16, computed in float32: half the file, and onnxruntime widens them once, when it loads.

    Activations stay in float32, so no norm or softmax can overflow; a GPU that should compute in half too does so
    by its provider's option (``("TensorrtExecutionProvider", {"trt_fp16_enable": True})``).
    """
    model = _copy(model)
    casts = []
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight)
        if values.dtype != np.float32 or values.size < _MIN_WEIGHTS:
            continue
        limit = np.finfo(np.float16).max
        half = np.clip(values, -limit, limit).astype(np.float16)
        casts.append(onnx.helper.make_node("Cast", [f"{weight.name}_half"], [weight.name], to=onnx.TensorProto.FLOAT))
        weight.CopyFrom(numpy_helper.from_array(half, f"{weight.name}_half"))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def to_int8(model: onnx.ModelProto) -> onnx.ModelProto:
    """Weights of all matrix products in int8 per channel, their inputs in uint8 by their range at run time.

    Convolutions, norms, attention products and everything between stay in float32. Ranges at run time need no
    calibration and follow each image; :func:`to_static_int8` fixes them by calibration instead.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder, _quiet():
        target = Path(folder) / "int8.onnx"
        quantize_dynamic(
            _copy(model),
            target,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            weight_type=QuantType.QInt8,
            extra_options={"MatMulConstBOnly": True},
        )
        return onnx.load(target)


def to_static_int8(model: onnx.ModelProto, feeds: Sequence[Mapping[str, np.ndarray]]) -> onnx.ModelProto:
    """As :func:`to_int8`, with ranges of the inputs fixed by calibration.

    Args:
        model: a traced tower.
        feeds: its inputs by name, for images like those to come.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class _Reader(CalibrationDataReader):
        def __init__(self, feeds: Iterable[Mapping[str, np.ndarray]]) -> None:
            self._feeds = iter(feeds)

        def get_next(self) -> dict[str, np.ndarray] | None:
            feed = next(self._feeds, None)
            return None if feed is None else dict(feed)

    with tempfile.TemporaryDirectory() as folder, _quiet():
        source, target = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        onnx.save(model, source)
        quantize_static(
            source,
            target,
            _Reader(feeds),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            extra_options={"MatMulConstBOnly": True},
        )
        return onnx.load(target)


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    """The converters write into what they are given."""
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    return copied


class _quiet:
    """Keeps the quantiser's advice off the root logger."""

    def __enter__(self) -> None:
        self._level = logging.getLogger().level
        logging.getLogger().setLevel(logging.ERROR)

    def __exit__(self, *_: object) -> None:
        logging.getLogger().setLevel(self._level)
