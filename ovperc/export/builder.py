"""A small writer of ONNX graphs: operators in, names of values out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ovperc.export.parts import ExportError

Value = str | int | float | Sequence[int] | np.ndarray
OPSET = 20
MAX_MODEL_BYTES = 2**31 - 2**20
BOOL, DOUBLE, FLOAT, INT32, INT64 = (
    TensorProto.BOOL,
    TensorProto.DOUBLE,
    TensorProto.FLOAT,
    TensorProto.INT32,
    TensorProto.INT64,
)


class GraphBuilder:
    """Collects nodes and constants; bodies of loops share names and constants with the graph around them.

    Args:
        root: the outermost graph, for the body of a loop; ``None`` starts a new graph.
    """

    def __init__(self, root: GraphBuilder | None = None) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self._root = root or self
        if root is None:
            self.initializers: list[TensorProto] = []
            self.functions: list[onnx.FunctionProto] = []
            self._constants: dict[tuple[Any, ...], str] = {}
            self._count = 0

    def name(self, hint: str) -> str:
        """A name that no other value has."""
        self._root._count += 1
        return f"{hint}_{self._root._count}"

    def constant(self, value: int | float | Sequence[int] | np.ndarray) -> str:
        """A constant: int64 of an int or ints, float32 of a float, an array as it is."""
        if not isinstance(value, np.ndarray):
            value = np.asarray(value, dtype=np.float32 if isinstance(value, float) else np.int64)
        key = (str(value.dtype), value.shape, value.tobytes())
        known = self._root._constants
        if key not in known:
            known[key] = self.name("const")
            self._root.initializers.append(numpy_helper.from_array(value, known[key]))
        return known[key]

    def op(self, kind: str, *inputs: Value, outputs: int = 1, **attributes: Any) -> Any:
        """Adds a node.

        Args:
            kind: operator.
            inputs: names of values, or constants.
            outputs: number of outputs.
            **attributes: of the operator.

        Returns:
            The name of its output, or a tuple of names.
        """
        names = [value if isinstance(value, str) else self.constant(value) for value in inputs]
        made = [self.name(kind) for _ in range(outputs)]
        self.nodes.append(helper.make_node(kind, names, made, **attributes))
        return made[0] if outputs == 1 else tuple(made)

    def cast(self, value: Value, kind: int) -> str:
        """A value in another type."""
        return self.op("Cast", value, to=kind)

    def size(self, value: str, axis: int) -> str:
        """Length of an axis, an int64 scalar."""
        return self.op("Gather", self.op("Shape", value), axis)

    def shape(self, *sides: Value) -> str:
        """Scalars as a shape ``(len(sides),)``; a constant where all are numbers."""
        if not any(isinstance(side, str) for side in sides):
            return self.constant([int(side) for side in sides])
        parts = [self.op("Reshape", side, [1]) if isinstance(side, str) else [int(side)] for side in sides]
        return self.op("Concat", *parts, axis=0)

    def reshape(self, value: str, *sides: Value) -> str:
        """A value with other sides."""
        return self.op("Reshape", value, self.shape(*sides))

    def arange(self, count: Value) -> str:
        """``0 .. count - 1``, int64."""
        return self.op("Range", 0, count, 1)

    def ceil_div(self, count: Value, by: Value) -> str:
        """``ceil(count / by)`` of positive int64 scalars."""
        return self.op("Div", self.op("Sub", self.op("Add", count, by), 1), by)

    def body(self) -> GraphBuilder:
        """A graph inside this one, for a loop."""
        return GraphBuilder(self._root)

    def graph(
        self, name: str, inputs: Sequence[onnx.ValueInfoProto], outputs: Sequence[onnx.ValueInfoProto]
    ) -> onnx.GraphProto:
        """The nodes as a graph of its own, the body of a loop."""
        return helper.make_graph(self.nodes, name, list(inputs), list(outputs))

    def inline(self, model: onnx.ModelProto, prefix: str, *inputs: str) -> tuple[str, ...]:
        """Copies a model in; its inputs become the given values.

        Returns:
            Names of its outputs.
        """
        model = onnx.compose.add_prefix(model, prefix)
        for entry, value in zip(model.graph.input, inputs, strict=True):
            self.nodes.append(helper.make_node("Identity", [value], [entry.name]))
        self.nodes.extend(model.graph.node)
        self._root.initializers.extend(model.graph.initializer)
        self._root.functions.extend(model.functions)
        return tuple(output.name for output in model.graph.output)


def tensor_input(name: str, kind: int, shape: Sequence[int | str] | None) -> onnx.ValueInfoProto:
    """A graph input; strings are names of free sides."""
    return helper.make_tensor_value_info(name, kind, shape)


def finish_model(graph: GraphBuilder, name: str, inputs: list, outputs: list) -> onnx.ModelProto:
    """A graph as a model.

    Args:
        graph: its nodes and initializers.
        name: of the graph.
        inputs: ``(name, type, shape)`` of each.
        outputs: ``(name, type, shape)`` of each.

    Raises:
        ExportError: the model is larger than an ONNX file can be.
    """
    proto = helper.make_graph(
        graph.nodes,
        name,
        [tensor_input(*entry) for entry in inputs],
        [tensor_input(*entry) for entry in outputs],
        graph.initializers,
    )
    imports = {"": OPSET} | {function.domain: 1 for function in graph.functions}
    domains = {node.domain for node in graph.nodes} - {"", "ai.onnx"}
    imports |= dict.fromkeys(sorted(domains), 1)
    model = helper.make_model(
        proto,
        producer_name="ovperc",
        opset_imports=[helper.make_opsetid(domain, version) for domain, version in imports.items()],
        functions=graph.functions,
    )
    model.ir_version = 10
    if model.ByteSize() > MAX_MODEL_BYTES:
        raise ExportError(
            f"the model has {model.ByteSize() / 2**30:.1f} GiB, an ONNX file holds 2; use --precision fp16 or int8"
        )
    return model
