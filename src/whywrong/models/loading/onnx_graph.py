"""Read the bytes of an ONNX protocol buffer without the onnx package.

Field numbers are those of onnx.proto: ModelProto.graph 7, GraphProto.node 1 and output 12, NodeProto.input 1, output 2
and op_type 4, ValueInfoProto.name 1; those that lead to tensors are in ``_PARTS``.
"""

from __future__ import annotations

from collections.abc import Iterator

# Message to the fields in which tensors may lie, and the messages in them.
_PARTS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}
_RESHAPING = {"Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Cast", "Transpose"}


def last_operation(content: bytes) -> str | None:
    """Return the name of the operation that computes the first output of a graph.

    Reshaping after it is skipped. Returns None if the graph cannot be read.

    Args:
        content: The whole file.
    """
    try:
        graph = next(value for field, value in _fields(memoryview(content)) if field == 7)
        nodes = [_node(value) for field, value in _fields(graph) if field == 1]
        output = next(value for field, value in _fields(graph) if field == 12)
        name = next(bytes(value) for field, value in _fields(output) if field == 1)
    except (StopIteration, IndexError, ValueError):
        return None
    made_by = {made: (operation, taken) for operation, taken, outputs in nodes for made in outputs}
    for _ in range(len(nodes)):
        operation, taken = made_by.get(name, (None, ()))
        if operation not in _RESHAPING or not taken:
            return operation
        name = taken[0]
    return None


def external_files(content: bytes) -> set[str]:
    """List the files in which an ONNX file keeps tensors.

    Paths are as written, relative to its folder.

    Args:
        content: The whole file.

    Raises:
        ValueError: It is truncated or no protocol buffer.
    """
    found: set[str] = set()
    waiting = [("model", memoryview(content))]
    try:
        while waiting:
            kind, message = waiting.pop()
            if kind == "entry":
                entry = {field: bytes(value) for field, value in _fields(message)}
                if entry.get(1) == b"location":
                    found.add(entry.get(2, b"").decode("utf-8", "surrogateescape"))
                continue
            parts = _PARTS[kind]
            waiting += [(parts[field], value) for field, value in _fields(message) if field in parts]
    except IndexError:
        raise ValueError("a message is cut off") from None
    return found


def _node(message: memoryview) -> tuple[str, list[bytes], list[bytes]]:
    fields = list(_fields(message))
    operation = next((bytes(value).decode(errors="replace") for field, value in fields if field == 4), "")
    return operation, [bytes(v) for f, v in fields if f == 1], [bytes(v) for f, v in fields if f == 2]


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield numbers and contents of the fields that hold bytes; numeric fields are skipped.

    Raises:
        IndexError, ValueError: The message is truncated or no protocol buffer.
    """
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == 0:
            _, at = _varint(message, at)
        elif kind == 2:
            length, at = _varint(message, at)
            if at + length > len(message):
                raise ValueError("a field is longer than its message")
            yield key >> 3, message[at : at + length]
            at += length
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            raise ValueError(f"unknown wire type {kind}")


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
        if shift > 63:
            raise ValueError("a number of more than 64 bits")
