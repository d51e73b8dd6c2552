"""The stand-in GPU as a fixture."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.device.stand_in import StandIn


@pytest.fixture
def gpu() -> Iterator[StandIn]:
    """A machine with one GPU; every test must end without a mix, also one that the product swallowed."""
    with StandIn() as stand_in:
        yield stand_in
    assert stand_in.mixes == []
