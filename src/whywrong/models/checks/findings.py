"""Findings and report of the health probe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from whywrong.core.access import Access
from whywrong.core.errors import ModelError


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding of the health probe.

    Attributes:
        level: ``stop`` if results would be wrong, ``warn`` if they may be, ``note`` if nothing is wrong.
        name: Short name of the check, stable between versions.
        text: What was found and what to do.
    """

    level: Literal["note", "warn", "stop"]
    name: str
    text: str


@dataclass(frozen=True, slots=True)
class HealthReport:
    """Results of the health probe.

    Attributes:
        findings: In the order of the checks; empty if there are none.
        access: Access that is still usable; below GRADIENTS if no gradient reaches the pixels.
        images: Images probed.
        accuracy: Share of correctly classified images; None without labels.
        queries: Forward passes, counted per image.
    """

    findings: tuple[Finding, ...]
    access: Access
    images: int
    accuracy: float | None
    queries: int

    def raise_on_stop(self) -> None:
        """Raise an error if a finding requires the run to stop.

        Raises:
            ModelError: At least one finding has the level ``stop``; the message holds the texts of all of them.
        """
        texts = [finding.text for finding in self.findings if finding.level == "stop"]
        if texts:
            raise ModelError("; ".join(texts))
