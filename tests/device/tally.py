"""What happened on the stand-in GPU: how often, how many bytes, and on which line of the product."""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from types import FrameType

import whywrong

KINDS = {
    "up": "copies from the host to the device",
    "down": "copies from the device to the host",
    "across": "copies between two devices",
    "sync": "places where the host waits for the device",
    "launch": "operations on the device",
    "host": "operations of the CPU on large tensors",
    "float64": "operations of the device on tensors of float64",
}
_WATCHED = os.path.dirname(whywrong.__file__) + os.sep  # a clone may lie in a folder of any name
_OURS = os.path.dirname(__file__)


class Tally:
    """Counts of each kind, with the lines that caused them."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.times: dict[str, int] = dict.fromkeys(KINDS, 0)
        self.bytes: dict[str, int] = dict.fromkeys(KINDS, 0)
        self._lines: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])

    def add(self, kind: str, size: int = 0, what: str = "", *, lines: bool = True) -> None:
        """Count one event of ``size`` bytes; ``lines=False`` spares the search for its line."""
        self.times[kind] += 1
        self.bytes[kind] += size
        if lines:
            seen = self._lines[kind, f"{innermost_line()} {what}".rstrip()]
            seen[0] += 1
            seen[1] += size

    def top(self, kind: str, most: int = 5, *, by_bytes: bool = True) -> str:
        """The lines behind most of a kind, one a line of text."""
        found = [(line, *seen) for (of, line), seen in self._lines.items() if of == kind]
        found.sort(key=lambda row: -row[2 if by_bytes else 1])
        return "\n".join(f"  {times:6} x, {size / 2**20:9.3f} MiB  {line}" for line, times, size in found[:most])


def innermost_line() -> str:
    """``file:line`` of the innermost frame of the product; of the innermost caller outside of torch elsewhere."""
    frame: FrameType | None = sys._getframe(1)
    outside = "?"
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(_WATCHED):
            return f"{name.removeprefix(_WATCHED)}:{frame.f_lineno}"
        if outside == "?" and f"{os.sep}torch{os.sep}" not in name and not name.startswith((_OURS, "<")):
            outside = f"{os.path.basename(name)}:{frame.f_lineno}"
        frame = frame.f_back
    return outside
