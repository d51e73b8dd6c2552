"""Findings of papers as claims that can be tested on any model and data.

A family of claims is a package that lists them in ``CLAIMS``; modules named there are imported only when they are used.
"""

from __future__ import annotations

from whywrong.core.registry import Claim
from whywrong.reproduce import counterfactuals, interactions, inverted, patches, suppression, votes

CLAIMS: tuple[Claim, ...] = (
    *inverted.CLAIMS,
    *interactions.CLAIMS,
    *counterfactuals.CLAIMS,
    *suppression.CLAIMS,
    *votes.CLAIMS,
    *patches.CLAIMS,
)
