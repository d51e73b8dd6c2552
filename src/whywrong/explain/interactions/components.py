"""Connected components of the graph whose vertices are players and whose edges are the measured pairs.

If all pairs of q players are measured in one context of other players, they need 1 + q sets besides one each, whatever
number of the q belongs to the context. Pairs that share no context need up to three sets each.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

_FEWEST = 3  # mean players of a component; smaller ones are cheaper in contexts that all pairs share


@dataclass(frozen=True, slots=True)
class Components:
    """Connected components of B images, at most L in an image.

    Attributes:
        label: (B, n) int64, component of each player; -1 if no pair names it.
        players: (B, L) int64, players in each component; 0 if an image has fewer components.
        of_pair: (B, P) int64, component of each pair.
    """

    label: Tensor
    players: Tensor
    of_pair: Tensor


def components_of(pairs: Tensor, players: int) -> Components:
    """Find the connected components of each image's pairs.

    An image whose components have fewer than three players on average gets one component of all its players. The
    result of an image depends on its own pairs only.

    Args:
        pairs: (B, P, 2) int64.
        players: n.
    """
    images = len(pairs)
    named = torch.zeros(images, players, dtype=torch.bool).scatter_(1, pairs.flatten(1), True)
    first, second = (pairs + players * torch.arange(images)[:, None, None]).flatten(0, 1).T.numpy()
    edges = coo_array((np.ones(len(first), bool), (first, second)), shape=(named.numel(), named.numel()))
    # scipy numbers components by their first vertex, so that those of one image follow each other.
    label = torch.from_numpy(connected_components(edges, directed=False)[1]).long()
    label = label[named.flatten()].unique(return_inverse=True)[1]
    number = torch.full_like(named, -1, dtype=torch.int64).masked_scatter(named, label)
    number -= number.where(named, named.numel()).amin(1, keepdim=True)
    small = named.sum(1, keepdim=True) < _FEWEST * (number.amax(1, keepdim=True) + 1)
    number = number.where(~small, 0).where(named, -1)
    count = torch.zeros(images, int(number.max()) + 1, dtype=torch.int64)
    count.scatter_add_(1, number.clamp_min(0), named.long())
    return Components(number, count, number.gather(1, pairs[..., 0]))
