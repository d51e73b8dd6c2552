"""Findings of the health probe, and the report that holds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from whywrong.core.access import Access
from whywrong.core.errors import ModelError


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that the probe saw.

    Attributes:
        level: ``stop`` where results would be wrong, ``warn`` where they may be, ``note`` where nothing is amiss.
        name: Short name of the check, stable between versions.
        text: What was seen and what to do.
    """

    level: Literal["note", "warn", "stop"]
    name: str
    text: str


@dataclass(frozen=True, slots=True)
class HealthReport:
    """What the probe found.

    Attributes:
        findings: In the order of the checks; empty when all is well.
        access: Access that remains usable: below GRADIENTS where no gradient reaches the pixels.
        images: Images probed.
        accuracy: Share of them that is right; None without labels.
        queries: Forward passes spent, in images.
    """

    findings: tuple[Finding, ...]
    access: Access
    images: int
    accuracy: float | None
    queries: int

    def raise_on_stop(self) -> None:
        """Stop where a finding says so.

        Raises:
            ModelError: The texts of all findings that stop.
        """
        texts = [finding.text for finding in self.findings if finding.level == "stop"]
        if texts:
            raise ModelError("; ".join(texts))
