"""Players that pairs join: those whose sets come up again and again, since every pair of them is asked for.

Of q players joined by all their pairs, in one and the same context of other players, all pairs need 1 + q sets besides
one each, whatever number of the q belongs to the context; pairs that share no context need up to three each.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_FEWEST = 3  # players of a clique, on average: pairs alone are cheaper in contexts that they share


@dataclass(frozen=True, slots=True)
class Cliques:
    """Players in groups, by image; at most L groups.

    Attributes:
        label: (B, n) int64, group of each player, or -1 where no pair names it.
        players: (B, L) int64, players in each group; 0 where an image has fewer groups.
        of_pair: (B, P) int64, group of each pair.
    """

    label: Tensor
    players: Tensor
    of_pair: Tensor


def cliques(pairs: Tensor, players: int) -> Cliques:
    """Groups of players that no pair connects with each other; one group of all where they would be pairs alone.

    What an image gets depends on its own pairs only.

    Args:
        pairs: (B, P, 2) int64.
        players: n.
    """
    images = len(pairs)
    first, second = pairs.unbind(2)
    label = torch.arange(players).repeat(images, 1)
    while True:  # every player takes the smallest label that it can reach
        least = torch.minimum(label.gather(1, first), label.gather(1, second))
        after = label.scatter_reduce(1, first, least, "amin").scatter_reduce(1, second, least, "amin")
        after = after.gather(1, after)
        if torch.equal(after, label):
            break
        label = after
    named = torch.zeros(images, players, dtype=torch.bool).scatter_(1, pairs.flatten(1), True)
    roots = named & (label == torch.arange(players))
    number = (roots.cumsum(1) - 1).gather(1, label)
    groups = roots.sum(1, keepdim=True)
    number = number.where(named.sum(1, keepdim=True) >= _FEWEST * groups, 0).where(named, -1)
    most = int(number.max()) + 1
    count = torch.zeros(images, most, dtype=torch.int64).scatter_add(1, number.clamp_min(0), named.long())
    return Cliques(number, count, number.gather(1, first))
