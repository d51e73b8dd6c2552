"""Relevance of the pixels for the wrong class and for the true class, by layer-wise relevance propagation.

Sources: the rules are those of :mod:`whywrong.explain.relevance.rules`; Achtibat et al. 2024, arXiv 2402.05602
(AttnLRP, CP-LRP); Gu, Yang and Tresp 2018, arXiv 1812.02100 (contrast). The comparison of the predicted with the true
class is ours, docs/methods/relevance.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from whywrong.core.access import Access
from whywrong.core.margins import best_other
from whywrong.core.status import Status
from whywrong.doors.methods import open_inputs
from whywrong.explain.relevance.config import UNIT, RelevanceConfig
from whywrong.explain.relevance.contrast import contrast
from whywrong.explain.relevance.engine import Propagation
from whywrong.explain.relevance.probe import is_transformer
from whywrong.explain.relevance.result import RelevanceResult
from whywrong.explain.relevance.rules import Rules
from whywrong.models.classifier import Classifier
from whywrong.models.method_call import MethodCall

NOT_FINITE = "the model returned NaN or infinite scores, activations or gradients"
BLANK = "blank map: no relevance reaches the pixels for one of the two classes"
_STRONGEST = 0.1  # share of cells that are compared


@open_inputs
def relevance(
    classifier: Classifier,
    x: Tensor,
    y: Tensor,
    *,
    keys: Tensor | None = None,
    detail: Tensor | None = None,
    config: RelevanceConfig | None = None,
) -> RelevanceResult:
    """Compute maps of the relevance for the wrong class against the true class.

    Args:
        classifier: Images (B, C, H, W) in [0, 1] to logits (B, K); must grant access to its layers.
        x: Images, (B, C, H, W), floating point, in [0, 1]; left untouched.
        y: True class, (B,), int64, in 0..K-1.
        keys: Not used; the method is deterministic.
        detail: (B,) bool, rows to explain; None explains all.
        config: Settings of the method; None uses the defaults.

    Returns:
        Signed maps with their conservation check and the number of passes: 1 forward and 2 backward passes per image,
        4 for ``clrp1`` and ``clrp2``. A refused map costs as much again, to find where relevance was lost. The first
        call for a classifier makes 2 passes over synthetic images, which are not counted.

    Raises:
        InputError: A shape, type or class breaks the contract above.
        AccessError: The classifier grants no access to its layers.
        ModelError: The model returns probabilities, or a step of it has no rule; the message names it.

    Example:
        >>> import torch, whywrong as ww
        >>> classifier = ww.load_classifier("planted:cnn")
        >>> x, y = torch.rand(2, 3, 64, 64), torch.tensor([0, 1])
        >>> ww.relevance(classifier, x, y).status
        [<Status.OK: 'ok'>, <Status.OK: 'ok'>]
    """
    config = config or RelevanceConfig()
    with MethodCall(classifier, x, y, method="relevance", access=Access.INTERNALS, detail=detail, skips=True) as call:
        transformer = is_transformer(classifier, (x.shape[1], x.shape[2], x.shape[3]))
        call.check_classes()
        return _Maps(call, config, config.rules(transformer=transformer)).run()


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """What one batch of images gives; see :class:`RelevanceResult`. Numbers are (6, b): residual to overlap."""

    rows: Tensor
    target: Tensor
    maps: Tensor
    numbers: Tensor
    blank: Tensor
    lost_at: str
    backwards: int


class _Maps:
    """State of one call."""

    def __init__(self, call: MethodCall, config: RelevanceConfig, rules: Rules) -> None:
        self.call, self.config, self.rules = call, config, rules
        self.sums = tuple(_block_sums(size, config.cells, call.x) for size in call.x.shape[2:])

    def run(self) -> RelevanceResult:
        call, batch = self.call, len(self.call.x)
        grid = tuple(len(sums) for sums in self.sums)
        maps = call.x.new_full((3, batch, *grid), torch.nan)
        numbers = call.x.new_full((6, batch), torch.nan)
        target = torch.full_like(call.y, -1)
        incomplete: list[Tensor] = []
        for part in self._propagate(call.rows, audit=False):
            found = torch.cat([part.maps[:1] - part.maps[1:], part.maps])  # difference, wrong, true
            finite = found.isfinite().all(0).all(1).all(1) & part.numbers.isfinite().all(0)
            lost = finite & (part.numbers[0] > self.config.tolerance)
            blank = finite & ~lost & part.blank
            sound = finite & ~lost & ~blank
            numbers[:, part.rows], target[part.rows] = part.numbers.to(numbers), part.target
            maps[:, part.rows[sound]] = found[:, sound]
            call.mark(part.rows[~finite], Status.REFUSED, NOT_FINITE)
            call.mark(part.rows[blank], Status.REFUSED, BLANK)
            incomplete.append(part.rows[lost])
        self._refuse(torch.cat(incomplete) if incomplete else call.rows[:0], numbers[0])
        unusable = maps[0].flatten(1).isnan().any(1)
        numbers[1:, unusable] = torch.nan
        residual, bias, softmax, bias_true, evidence, overlap = numbers
        return RelevanceResult(
            **call.outcome(),
            rule=self.rules.name,
            first=self.rules.first,
            attention=self.rules.attention,
            contrast=self.config.contrast,
            unit="share" if self.rules.name in UNIT else "logits",
            target=target,
            residual=residual,
            bias=bias,
            softmax=softmax,
            bias_true=bias_true,
            evidence=evidence,
            overlap=overlap,
            difference=maps[0],
            wrong=maps[1],
            true=maps[2],
        )

    def _propagate(self, rows: Tensor, *, audit: bool) -> Sequence[_Part]:
        """Propagate for rows (n,), in batches that fit, and count the passes."""
        call, raised = self.call, dict[int, Exception]()
        pixels, labels = call.x[rows], call.y[rows].to(call.classifier.device)

        def run(some: slice) -> _Part:
            return self._part(pixels[some], labels[some], rows[some], audit)

        parts: list[_Part] = call.classifier._run(pixels, run, raised)
        for row, error in raised.items():
            call.mark(int(rows[row]), Status.REFUSED, str(error))
        for part in parts:
            call.count(part.rows, forwards=1, backwards=part.backwards)
        return parts

    def _part(self, x: Tensor, y: Tensor, rows: Tensor, audit: bool) -> _Part:
        made = Propagation(self.call.classifier, x, self.rules, audit=audit)
        self.call.check_classes(made.logits.shape[1])
        classes = torch.stack([best_other(made.logits, y), y])
        found = contrast(made, self.rules, classes, self.config)
        down, across = self.sums
        maps = torch.stack([down @ one @ across.T for one in (found.wrong, found.true)])
        shares = [
            torch.where(of.start == 0, 0.0, value / of.start)
            for of, value in (
                (found.of_wrong, found.of_wrong.bias),
                (found.of_wrong, found.of_wrong.softmax),
                (found.of_true, found.of_true.bias),
            )
        ]
        evidence = (maps[0] - maps[1]).sum((1, 2), dtype=torch.float64)
        numbers = torch.stack([found.residual, *shares, evidence, _overlap(maps).double()])
        return _Part(
            rows,
            classes[0].to(rows.device),
            maps,
            numbers,
            found.blank,
            _worst(found.of_wrong.lost, y.device),
            found.backwards,
        )

    def _refuse(self, rows: Tensor, residual: Tensor) -> None:
        """Refuse maps that miss too much, and name the call that loses most."""
        for row in rows.split(1):  # rare; one by one, so that each names its own
            for part in self._propagate(row, audit=True):
                at = f"; most of it is lost at {part.lost_at}" if part.lost_at else ""
                self.call.mark(
                    row,
                    Status.REFUSED,
                    f"relevance is not conserved: {float(residual[row]):.2g} of it is missing, at most "
                    f"{self.config.tolerance:g} is allowed{at}",
                )


def _worst(lost: dict[str, Tensor], device: torch.device) -> str:
    """Name the call at which most relevance was lost or made; empty if nothing was measured."""
    if not lost:
        return ""
    # Calls before the images reach the device are measured on the host. One transfer back for all calls.
    worst = torch.stack([missed.abs().max().to(device) for missed in lost.values()]).argmax()
    return list(lost)[int(worst)]


def _block_sums(size: int, cells: int, like: Tensor) -> Tensor:
    """Return the matrix (cells, size) that sums pixels of one side to cells."""
    cells = size if cells == 0 else min(cells, size)
    owner = torch.arange(size, device=like.device) * cells // size
    return (owner == torch.arange(cells, device=like.device)[:, None]).to(like)


def _overlap(maps: Tensor) -> Tensor:
    """Return the share (B,) of the strongest cells that the two maps (2, B, h, w) have in common."""
    flat = maps.flatten(2)
    most = max(1, int(_STRONGEST * flat.shape[2]))
    strongest = torch.zeros_like(flat).scatter(2, flat.topk(most, dim=2).indices, 1.0)
    return (strongest[0] * strongest[1]).sum(1) / most
