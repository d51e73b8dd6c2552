"""What a call costs on the stand-in GPU, an image pass and a batch pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from unittest import mock

from tests.device.stand_in import StandIn

from whywrong.models.classifier import Classifier


@dataclass(frozen=True)
class Cost:
    """Costs of a call, or the most that it may cost.

    Attributes:
        moves: Copies between host and device a batch pass (a forward or backward pass of one batch).
        moved: Bytes of these copies an image pass, in multiples of the image's own float32 bytes.
        syncs: Places a batch pass where the host waits for the device.
        host: Bytes that operations of the CPU read and wrote an image pass, in multiples of the image's own bytes;
            operations on less than 16 kB do not count.
    """

    moves: float
    moved: float
    syncs: float
    host: float


# Where to look when a cost is too high.
LINES = {"moves": ("up", "down"), "moved": ("up", "down"), "syncs": ("sync",), "host": ("host",)}


def measure(gpu: StandIn, classifiers: Sequence[Classifier], call: Callable[[], Any]) -> Cost:
    """Costs of ``call``, which sends images of one size through these classifiers."""
    batches = 0
    passed = Classifier._passed

    def counted(classifier: Classifier) -> None:
        nonlocal batches
        batches += 1
        passed(classifier)

    def images() -> int:
        return sum(one.forwards + one.backwards for one in classifiers)

    before = images()
    gpu.tally.clear()
    with mock.patch.object(Classifier, "_passed", counted):
        call()
    spec = classifiers[0].preprocess
    assert spec is not None
    assert batches > 0, "nothing went through the model"
    own = 4 * spec.channels * spec.height * spec.width * (images() - before)
    times, size = gpu.tally.times, gpu.tally.bytes
    return Cost(
        moves=(times["up"] + times["down"]) / batches,
        moved=(size["up"] + size["down"]) / own,
        syncs=times["sync"] / batches,
        host=size["host"] / own,
    )


def over_budget(gpu: StandIn, cost: Cost, most: Cost) -> str:
    """What is too high, with the lines behind it; empty where nothing is."""
    found = []
    for name, kinds in LINES.items():
        if getattr(cost, name) > getattr(most, name):
            found.append(f"{name}: {getattr(cost, name):.3g}, at most {getattr(most, name):g}")
            found += [gpu.tally.top(kind, by_bytes=name in ("moved", "host")) for kind in kinds]
    return "\n".join(found)
