"""Read and write the parts of an ONNX model that the server changes or builds, without the onnx package.

The messages have the field numbers of onnx.proto and only the fields that are needed. Protocol buffers keep the fields
that they do not know, so a model that is parsed and serialized again keeps everything else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from cofactor_server.arrays import AnyArray

FLOAT, INT64 = 1, 7  # onnx.TensorProto.DataType
_DTYPES = {FLOAT: "float32", INT64: "int64", 2: "uint8", 3: "int8", 6: "int32"}
_EXTERNAL = 1  # onnx.TensorProto.DataLocation
_INT_ATTRIBUTE, _INTS_ATTRIBUTE = 2, 7  # onnx.AttributeProto.AttributeType
_IR_VERSION = 8
_PACKAGE = "cofactor.onnx"

# Message -> (field, number, type); a type that begins with * is repeated.
_FIELDS: Mapping[str, Sequence[tuple[str, int, str]]] = {
    "Entry": [("key", 1, "string"), ("value", 2, "string")],
    "Tensor": [
        ("dims", 1, "*int64"),
        ("data_type", 2, "int32"),
        ("name", 8, "string"),
        ("raw_data", 9, "bytes"),
        ("external_data", 13, "*Entry"),
        ("data_location", 14, "int32"),
    ],
    "Dimension": [("dim_value", 1, "int64"), ("dim_param", 2, "string")],
    "Shape": [("dim", 1, "*Dimension")],
    "TensorType": [("elem_type", 1, "int32"), ("shape", 2, "Shape")],
    "Type": [("tensor_type", 1, "TensorType")],
    "ValueInfo": [("name", 1, "string"), ("type", 2, "Type")],
    "Attribute": [("name", 1, "string"), ("i", 3, "int64"), ("ints", 8, "*int64"), ("type", 20, "int32")],
    "Node": [
        ("input", 1, "*string"),
        ("output", 2, "*string"),
        ("op_type", 4, "string"),
        ("attribute", 5, "*Attribute"),
    ],
    "Graph": [
        ("node", 1, "*Node"),
        ("name", 2, "string"),
        ("initializer", 5, "*Tensor"),
        ("input", 11, "*ValueInfo"),
        ("output", 12, "*ValueInfo"),
    ],
    "OperatorSet": [("domain", 1, "string"), ("version", 2, "int64")],
    "Model": [("ir_version", 1, "int64"), ("graph", 7, "Graph"), ("opset_import", 8, "*OperatorSet")],
}


def _message_classes() -> dict[str, type[Any]]:
    """Declare the messages in a pool of their own, so that they do not collide with the onnx package."""
    field = descriptor_pb2.FieldDescriptorProto
    scalars = {
        "string": field.TYPE_STRING, "bytes": field.TYPE_BYTES, "int32": field.TYPE_INT32, "int64": field.TYPE_INT64
    }  # fmt: skip
    file = descriptor_pb2.FileDescriptorProto(name="cofactor/onnx.proto", package=_PACKAGE, syntax="proto2")
    for message, fields in _FIELDS.items():
        declared = file.message_type.add(name=message)
        for name, number, kind in fields:
            label = field.LABEL_REPEATED if kind.startswith("*") else field.LABEL_OPTIONAL
            kind = kind.removeprefix("*")
            entry = declared.field.add(name=name, number=number, label=label)
            if kind in scalars:
                entry.type = scalars[kind]
            else:
                entry.type, entry.type_name = field.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _FIELDS}


_MESSAGES = _message_classes()


class ExternalTensor:
    """An initializer whose values are in a file.

    Attributes:
        name: name of the initializer.
        dtype: its element type.
        shape: its shape.
        offset: position of its first byte in the file.
    """

    def __init__(self, tensor: Any) -> None:
        self.name = str(tensor.name)
        self.dtype = np.dtype(_DTYPES[tensor.data_type])
        self.shape = tuple(map(int, tensor.dims))
        self.offset = int({entry.key: entry.value for entry in tensor.external_data}.get("offset", "0"))


def external_tensors_as_inputs(model: bytes) -> tuple[bytes, list[ExternalTensor]]:
    """Turn every initializer whose values are in a file into an input of the graph -> the model, these initializers.

    Raises KeyError for an element type that tables do not have, and google.protobuf.message.DecodeError.
    """
    proto = _MESSAGES["Model"].FromString(model)
    graph, found = proto.graph, []
    stored = list(graph.initializer)
    del graph.initializer[:]
    for tensor in stored:
        if tensor.data_location != _EXTERNAL:
            graph.initializer.append(tensor)
            continue
        found.append(ExternalTensor(tensor))
        _declare(graph.input.add(), tensor.name, tensor.data_type, list(tensor.dims))
    return bytes(proto.SerializeToString()), found


def _declare(value: Any, name: str, data_type: int, shape: Sequence[int | str]) -> None:
    """Fill in an input or an output; a dimension is a size or a name."""
    value.name = name
    value.type.tensor_type.elem_type = data_type
    for size in shape:
        dimension = value.type.tensor_type.shape.dim.add()
        if isinstance(size, str):
            dimension.dim_param = size
        else:
            dimension.dim_value = size


class GraphBuilder:
    """Builds an ONNX model node by node. Every method that adds a node returns the name of its output."""

    def __init__(self, name: str, opset: int) -> None:
        self._model = _MESSAGES["Model"](ir_version=_IR_VERSION)
        self._model.opset_import.add(version=opset)
        self._model.graph.name = name
        self._n_names = 0

    def input(self, name: str, data_type: int, shape: Sequence[int | str]) -> str:
        """Declare an input."""
        _declare(self._model.graph.input.add(), name, data_type, shape)
        return name

    def output(self, name: str, value: str, data_type: int, shape: Sequence[int | str]) -> None:
        """Declare an output, and the value that it has."""
        self._add("Identity", [value], [name], {})
        _declare(self._model.graph.output.add(), name, data_type, shape)

    def constant(self, value: AnyArray) -> str:
        """Add a constant of int64 or float32."""
        tensor = self._model.graph.initializer.add(name=self._name("constant"), raw_data=value.tobytes())
        tensor.data_type = next(number for number, dtype in _DTYPES.items() if dtype == value.dtype.name)
        tensor.dims.extend(value.shape)
        return str(tensor.name)

    def integers(self, *values: int) -> str:
        """Add a constant int64 vector."""
        return self.constant(np.array(values, dtype=np.int64))

    def add(self, operator: str, *inputs: str, **attributes: int | Sequence[int]) -> str:
        """Add a node that has one output."""
        return self.add_many(operator, 1, *inputs, **attributes)[0]

    def add_many(self, operator: str, n_outputs: int, *inputs: str, **attributes: int | Sequence[int]) -> list[str]:
        """Add a node that has several outputs."""
        outputs = [self._name(operator) for _ in range(n_outputs)]
        self._add(operator, inputs, outputs, attributes)
        return outputs

    def serialize(self) -> bytes:
        """Return the model as bytes."""
        return bytes(self._model.SerializeToString())

    def _add(
        self,
        operator: str,
        inputs: Sequence[str],
        outputs: Sequence[str],
        attributes: Mapping[str, int | Sequence[int]],
    ) -> None:
        node = self._model.graph.node.add(op_type=operator, input=inputs, output=outputs)
        for name, value in attributes.items():
            attribute = node.attribute.add(name=name)
            if isinstance(value, int):
                attribute.type, attribute.i = _INT_ATTRIBUTE, value
            else:
                attribute.type = _INTS_ATTRIBUTE
                attribute.ints.extend(value)

    def _name(self, kind: str) -> str:
        self._n_names += 1
        return f"{kind}_{self._n_names}"
