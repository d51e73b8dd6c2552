"""Damaged signal: the common corruptions at the smallest severity that turns the image wrong."""

from __future__ import annotations

from functools import partial

from whywrong.data.corruptions import KINDS as CORRUPTIONS
from whywrong.data.corruptions import corrupt
from whywrong.planting.subjects import Kind, Proposal, Subjects


def damage(corruption: str, subjects: Subjects, level: int) -> Proposal:
    """The image with ``corruption`` at severity ``level``."""
    x = corrupt(subjects.x, corruption, level, keys=subjects.keys)
    return Proposal(x, subjects.y, f"severity {level}", scene=subjects.scene, severity=level)


KINDS = tuple(Kind("corruption", name, partial(damage, name)) for name in CORRUPTIONS)
