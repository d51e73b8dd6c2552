"""Patch groups of images, which patches suffice for, break or correct the decision.

The groups do not say what caused an error: groups like them are found for random labels too
(docs/methods/patch_groups.md).

Source: MoXI, Sumiyasu et al. 2024, arXiv 2401.03785: Algorithms 1 and 2, and the class-targeted deletion of section 5.
Stopping at the flip, preferring a patch that flips at every step, and choosing the class-targeted group by ``value of y
- value of t`` are ours; the appendix on that group could not be obtained.
"""

from __future__ import annotations

import torch
from torch import Tensor

from whywrong.core.access import Access
from whywrong.core.errors import InputError, ModelRaisedError, NonFiniteError
from whywrong.core.status import Status
from whywrong.doors.methods import open_inputs
from whywrong.explain.masking.coarse import MOST_A_SIDE
from whywrong.explain.masking.players import PlayersConfig
from whywrong.explain.masking.values import CLASSES, ValueFunction
from whywrong.explain.patch_groups.config import PatchGroupsConfig
from whywrong.explain.patch_groups.found import Found
from whywrong.explain.patch_groups.game import PatchGame, column
from whywrong.explain.patch_groups.greedy import greedy
from whywrong.explain.patch_groups.result import PatchGroupsResult
from whywrong.explain.patch_groups.search import GreedyPath, Search
from whywrong.models.classifier import Classifier
from whywrong.models.method_call import NOT_FINITE, MethodCall

CONSTANT = "the scores stay the same whatever is hidden: there is nothing to rank"
_SAME = 1e-6  # relative to the value if it exceeds 1; larger than the rounding of float32


@open_inputs
def patch_groups(
    classifier: Classifier,
    x: Tensor,
    y: Tensor,
    *,
    keys: Tensor | None = None,
    detail: Tensor | None = None,
    config: PatchGroupsConfig | None = None,
) -> PatchGroupsResult:
    """Find the smallest groups of patches that make, break or correct the decision.

    The search is plain greedy search.

    Args:
        classifier: Images (B, C, H, W) in [0, 1] to logits (B, K), K >= 2.
        x: Images, (B, C, H, W), floating point, in [0, 1]; left untouched.
        y: True class, (B,), int64, in 0..K-1.
        keys: Not used; the method is deterministic.
        detail: (B,) bool, rows to explain; None explains all.
        config: Settings of the method; None uses the defaults.

    Returns:
        Groups, values after each step, heat maps, and the number of passes. With n patches and at most k of them in a
        group, an image costs at most 2 passes plus k n - k (k - 1) / 2 for each of the four groups; passes that several
        groups need are made once, and every search ends at its flip.

    Raises:
        InputError: A shape, type, class or grid breaks the contract above.
        AccessError: The classifier grants labels only.
        CannotDropTokens: ``kind`` is ``tokens`` and the model cannot drop tokens.

    Example:
        >>> import torch, whywrong as ww
        >>> classifier = ww.load_classifier("planted:cnn")
        >>> x, y = torch.rand(2, 3, 64, 64), torch.tensor([0, 1])
        >>> config = ww.PatchGroupsConfig(grid=4)
        >>> ww.patch_groups(classifier, x[:1], y[:1], config=config).players
        'pixels'
    """
    config = config or PatchGroupsConfig()
    with MethodCall(classifier, x, y, method="patch_groups", access=Access.SCORES, detail=detail, skips=True) as call:
        players = config.players(classifier, x)
        found = Found(len(x), players.grid or MOST_A_SIDE)
        _search(call, call.rows, players, config, found)
    return found.result(call, config)


def _search(call: MethodCall, rows: Tensor, players: PlayersConfig, config: PatchGroupsConfig, found: Found) -> None:
    """Find the groups of images ``rows``.

    Images on which the model fails are isolated, and the others are searched again.
    """
    if len(rows) == 0:
        return
    game, classifier, y = None, call.classifier, call.y[rows]
    before = classifier.forwards
    try:
        functions = [ValueFunction(kind=config.value, of=of) for of in CLASSES]
        game = PatchGame(classifier, call.x[rows], y, functions=functions, config=players)
        at = rows.cpu()
        constant = at[_all_groups(game, at, y.cpu(), config, found)]
        call.mark(constant.to(rows.device), Status.REFUSED, CONSTANT)
        found.drop(constant)
        call.count(rows, game.forwards.to(rows.device))
    except InputError:
        call.check_classes()  # names the row by the caller's number
        raise
    except NonFiniteError:
        assert game is not None
        call.count(rows, game.forwards.to(rows.device))
        faulty = torch.zeros(len(rows), dtype=torch.bool)
        faulty[list(game.faulty)] = True
        call.mark(rows[faulty.to(rows.device)], Status.REFUSED, NOT_FINITE)
        found.drop(rows.cpu()[faulty])
        _search(call, rows[~faulty.to(rows.device)], players, config, found)
    except ModelRaisedError as error:
        if len(rows) == 1:
            call.count(rows, classifier.forwards - before)
            call.mark(rows, Status.REFUSED, str(error))
            found.drop(rows.cpu())
            return
        if game is not None:
            call.count(rows, game.forwards.to(rows.device))
        for half in rows.split(-(-len(rows) // 2)):
            _search(call, half, players, config, found)


def _all_groups(game: PatchGame, rows: Tensor, y: Tensor, config: PatchGroupsConfig, found: Found) -> Tensor:
    """Search all groups of images ``rows``.

    Returns (n,) bool, images whose scores do not depend on what is hidden.
    """
    everyone, predicted = torch.arange(game.images), game.predicted
    wrong = (predicted != y).nonzero().flatten()
    true, against, difference = (column(game, f"{config.value}_{of}") for of in CLASSES)
    of_predicted = torch.where(predicted == y, true, against)
    steps = config.steps(game.players)

    def removal(chosen: Tensor, value: Tensor, watched: Tensor, start: Tensor | None = None) -> Search:
        return Search(
            rows=chosen,
            value=value,
            adds=False,
            highest=False,
            steps=steps,
            watched=watched,
            until_wins=False,
            flip_first=True,
            start=start,
        )

    towards_true = Search(
        rows=wrong,
        value=torch.full_like(wrong, difference),
        adds=False,
        highest=True,
        steps=steps,
        watched=y[wrong],
        flip_first=True,
    )
    shown = Search(
        rows=everyone,
        value=of_predicted,
        adds=True,
        highest=True,
        steps=steps,
        watched=predicted,
        flip_first=True,
    )
    sufficient, breaking, targeted = greedy(game, [shown, removal(everyone, of_predicted, predicted), towards_true])
    won = wrong[targeted.found]
    present = targeted.present[targeted.found]
    [support] = greedy(game, [removal(won, torch.full_like(won, true), y[won], present)])

    found.rows, found.cols, found.players, found.fallback = game.rows, game.cols, game.kind, game.fallback
    found.numbers[0, rows], found.numbers[1, rows] = predicted, game.target
    found.numbers[2, rows] = torch.where(breaking.found, breaking.winner, -1)
    found.spread[rows] = breaking.spread
    found.add("sufficient", rows, sufficient)
    found.add("breaking", rows, breaking)
    found.add("targeted", rows[wrong], targeted)
    found.add("support", rows[won], support)
    right = (predicted == y).nonzero().flatten()
    whole = game(torch.ones(game.images, 1, game.players, dtype=torch.bool))[:, 0]  # cached: no pass
    found.add_right(rows[right], whole[right, difference])
    return _constant(sufficient, breaking)


def _constant(sufficient: GreedyPath, breaking: GreedyPath) -> Tensor:
    """Test whether the scores of each image do not depend on what is hidden.

    Returns (B,) bool: no patch, all patches, and all but one have the same value.
    """
    nobody, everybody, without = sufficient.values[:, 0], breaking.values[:, 0], breaking.values[:, 1]
    allowed = _SAME * everybody.abs().clamp_min(1)
    gap = torch.stack([(nobody - everybody).abs(), (without - everybody).abs(), breaking.spread])
    return (gap <= allowed).all(0)
