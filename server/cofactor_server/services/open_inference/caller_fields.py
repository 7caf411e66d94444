"""Name the fields of an inference request in errors of Recommend and Predict, whose fields its caller never sent."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from cofactor_server.errors import RequestError
from cofactor_server.services.open_inference.messages import InferRequest

_INDEXED = re.compile(r"(\w+)\[(\d+)\]")


class CallerFields:
    """The fields of one request by the names of its inputs."""

    def __init__(self, request: InferRequest) -> None:
        self._request = request
        self._positions = {tensor.name: position for position, tensor in enumerate(request.inputs)}

    def tensor(self, name: str) -> str:
        """Return the path of an input; the list of all inputs if the request lacks it."""
        return f"inputs[{self._positions[name]}]" if name in self._positions else "inputs"

    def element(self, name: str, index: int) -> str:
        """Return the path of an element of an input."""
        position = self._positions[name]
        if self._request.raw_input_contents:
            return f"raw_input_contents[{position}][{index}]"
        kind = "int64_contents" if self._request.inputs[position].datatype == "INT64" else "bytes_contents"
        return f"inputs[{position}].contents.{kind}[{index}]"

    @contextmanager
    def renamed(self, inputs: Mapping[str, str]) -> Iterator[None]:
        """Rename the fields of the errors that are raised inside.

        inputs: field of Recommend or Predict -> input that it was made from.
        """
        try:
            yield
        except RequestError as error:
            self.rename(error, inputs)
            raise

    def rename(self, error: RequestError, inputs: Mapping[str, str]) -> None:
        """Rename the field of an error: a list by its input, an element of a list by its element."""
        if error.field == "model":
            error.rename_field("model_name")
        elif error.field in inputs:
            error.rename_field(self.tensor(inputs[error.field]))
        else:
            match = _INDEXED.fullmatch(error.field)
            if match and match[1] in inputs:
                error.rename_field(self.element(inputs[match[1]], int(match[2])))
