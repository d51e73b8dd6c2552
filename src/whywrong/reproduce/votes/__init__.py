"""Claims of the vote attack on capsule networks."""

from __future__ import annotations

from whywrong.core.registry import Claim

CLAIMS: tuple[Claim, ...] = (
    Claim(
        name="vote.V1",
        title="attacking the votes of a capsule network fools it at least as often as attacking its output",
        function="whywrong.reproduce.votes.claims:votes_fool_as_often",
        config="whywrong.reproduce.votes.claims:VoteClaimConfig",
        takes=frozenset({"progress", "cache"}),
    ),
)
