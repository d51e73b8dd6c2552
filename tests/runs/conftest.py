"""The stub method, registered for the tests of the runner."""

from __future__ import annotations

import pytest

from tests.runs import kit
from whywrong.core import registry


@pytest.fixture(autouse=True)
def _only_the_stub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "BUILTIN_METHODS", (kit.method(),))
