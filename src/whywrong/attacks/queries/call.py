"""State of one call of a query attack: what was asked, answered, found and spent."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor

from whywrong.attacks.balls import norm_of
from whywrong.attacks.queries.answers import Answers
from whywrong.attacks.queries.black_box import BlackBox
from whywrong.attacks.queries.config import QueryConfig
from whywrong.attacks.queries.grid import GreyBall, on_grid
from whywrong.attacks.queries.memory import AnswerMemory, Digest
from whywrong.attacks.queries.result import QueryResult
from whywrong.attacks.queries.steadiness import Steadiness
from whywrong.core.access import Access
from whywrong.core.errors import InputError
from whywrong.core.status import Status
from whywrong.models.classifier import Classifier
from whywrong.models.method_call import NOT_FINITE, MethodCall

FLAT = "the scores do not change, as if they were rounded, so that only the predicted classes were used"

ResultT = TypeVar("ResultT", bound=QueryResult)


class QueryCall(MethodCall):
    """A :class:`MethodCall` that only asks, within the budget of each image, and never the same image twice.

    Args:
        classifier, x, y, keys: The classifier, images, classes and seeds, as for every method.
        config: Ball, budget and goal.
        access: The least access that the attack needs; with LABELS, scores are never read.
        method: Name of the attack, for messages.
        known: Logits (B, K) of the unchanged images, or classes (B,) int64, if the caller has them; otherwise the
            unchanged images are asked once.
        memory: Answers so far; None for none.

    Attributes:
        ball: Images of whole grey levels that may be asked.
        queries: (B,), int64, changed images asked so far.
        found: (B,), bool, rows whose best image reaches the goal.

    Raises:
        InputError: A shape, type or class is invalid.
        AccessError: The classifier grants less than ``access``.
    """

    def __init__(
        self,
        classifier: Classifier,
        x: Tensor,
        y: Tensor,
        *,
        keys: Tensor | None,
        config: QueryConfig,
        access: Access,
        method: str,
        known: Tensor | None = None,
        memory: AnswerMemory | None = None,
        exact: bool = False,
    ) -> None:
        super().__init__(classifier, x, y, method=method, access=access, keys=keys, seed=config.seed)
        if known is not None and (len(known) != len(x) or known.ndim != (2 if known.is_floating_point() else 1)):
            raise InputError(
                f"known must be logits ({len(x)}, K) or classes ({len(x)},), got {known.dtype} {tuple(known.shape)}"
            )
        self.config = config
        self.box = BlackBox(classifier, labels_only=access < Access.TOP, targeted=config.targeted, exact=exact)
        self._memory = AnswerMemory() if memory is None else memory
        self._unsent: dict[int, str] = {}  # rows that an endpoint no longer answers, with the reason
        self._known = known
        grey = on_grid(torch.nan_to_num(self.x, 0.0))
        self.ball = GreyBall(grey, config.eps, config.norm)
        self.queries = torch.zeros_like(self.y)
        self.found = torch.zeros_like(self.detail)
        self._best, self._margin = grey.clone(), grey.new_full((len(x),), torch.nan)
        self._steadiness = Steadiness(len(x), config.ask_again, labels_only=self.box.labels_only or config.confirm > 0)

    # Rows.

    def begin(self) -> tuple[Tensor, Answers]:
        """Return the rows (n,) to attack and the answers to their unchanged images.

        Without a budget nothing is asked and there are no rows.
        """
        rows = self.rows if self.config.queries else self.rows[:0]
        answers = self._clean(rows)
        unanswered = rows[answers.label < 0]
        self.mark(unanswered[~torch.isin(unanswered, rows.new_tensor(list(self._unsent)))], Status.REFUSED, NOT_FINITE)
        self.mark(rows[answers.reached], Status.ALREADY_CORRECT)
        self._margin[rows] = answers.margin
        self.found[rows] = answers.reached
        left = (answers.label >= 0) & ~answers.reached
        return rows[left], answers.at(left)

    def left(self, rows: Tensor) -> Tensor:
        """Return how many more images (n,) int64 may be asked; none for rows whose status is settled."""
        settled = self.having(Status.REFUSED)
        if self._unsent:
            settled[rows.new_tensor(list(self._unsent))] = True
        return (self.config.queries - self.queries[rows]).clamp_min(0).masked_fill(settled[rows], 0)

    def going_on(self, rows: Tensor, *, flat: bool = False) -> Tensor:
        """Select the rows, as a mask (n,) bool, that have not reached the goal and may ask more.

        Rows whose scores have stopped changing are left out unless ``flat``.
        """
        going = ~self.found[rows] & (self.left(rows) > 0)
        return going if flat else going & ~self._steadiness.plateau(rows)

    # Questions.

    def ask(self, rows: Tensor, pixels: Tensor, *, claim: bool = True) -> Answers:
        """Ask images of whole grey levels, each once; images that were answered before cost nothing.

        Args:
            rows: (m,), rows of the batch; a row may occur several times. Images beyond its budget are not asked, and
                their answers are not usable.
            pixels: (m, C, H, W), multiples of 1/255.
            claim: Whether an image that reaches the goal may be found, and is asked again if ``confirm`` says so.

        Returns:
            Answers (m,).
        """
        digests = self._memory.digests(self.keys[rows], self.y[rows], pixels)
        first: dict[Digest, int] = {}
        for place, digest in enumerate(digests):
            if self._memory.get(digest) is None:
                first.setdefault(digest, place)
        places = torch.tensor(list(first.values()), dtype=torch.int64, device=rows.device)
        affordable = self._affordable(rows[places])
        places, new = (
            places[affordable],
            [digest for digest, yes in zip(first, affordable.tolist(), strict=True) if yes],
        )
        if new:
            answers = self._send(rows[places], pixels[places])
            if claim:
                answers = self._confirm(rows[places], pixels[places], answers)
            self._memory.put(new, answers)
            self._steadiness.remember(rows[places], pixels[places], answers)
            self._check_again(rows[places])
        label, margin = self._memory.read(digests, rows.device)
        return self.box.answers(label, margin, self.y[rows])

    def compare(self, rows: Tensor, answers: Answers) -> None:
        """Compare the answers to one new image each of ``rows`` with the last ones, to notice scores that are flat."""
        self._steadiness.compare(rows, answers.margin)

    def keep(self, rows: Tensor, pixels: Tensor, answers: Answers) -> None:
        """Make these images (n, C, H, W) the best ones of ``rows``, one each."""
        self._best[rows], self._margin[rows] = pixels, answers.margin
        self.found[rows] = answers.reached

    def result(self, kind: type[ResultT], **extra: Any) -> ResultT:
        """Build the result, with its own fields in ``extra``."""
        rows = self.rows
        flat = self._steadiness.plateau(torch.arange(len(self.x), device=rows.device))
        lost = rows[~self.found[rows]]
        self.mark(lost, Status.NO_ANSWER)
        self.mark(lost[flat[lost]], Status.NO_ANSWER, FLAT)
        for row in set(self._unsent) & set(lost.tolist()):
            self.mark(row, Status.NO_ANSWER, self._unsent[row])
        unusable = self.having(Status.REFUSED) | self.having(Status.BAD_INPUT)
        change = self._best - self.ball.x
        return kind(
            found=self.found & ~unusable,
            queries=self.queries,
            l2=norm_of(change, "l2"),
            linf=norm_of(change, "linf"),
            margin=self._margin,
            plateau=flat,
            image=self._best,
            **self.outcome(),
            **extra,
        )

    def _clean(self, rows: Tensor) -> Answers:
        y = self.y[rows]
        if self._known is not None:
            known = self._known.to(rows.device)[rows]
            return self.box.read(known, y) if known.ndim == 2 else self.box.told(known, y)
        if not len(rows):
            return self.box.told(rows, y)
        pixels = self.ball.x[rows]
        answers = self._answer(rows, pixels)
        self._memory.put(self._memory.digests(self.keys[rows], y, pixels), answers)
        self._steadiness.remember(rows, pixels, answers)
        return answers

    def _send(self, rows: Tensor, pixels: Tensor) -> Answers:
        """Ask images, each counted as a query."""
        self.queries.index_add_(0, rows, torch.ones_like(rows))
        return self._answer(rows, pixels, queries=1)

    def _answer(self, rows: Tensor, pixels: Tensor, queries: int = 0) -> Answers:
        """Ask images, each counted as a forward pass; take back the count of those that were not sent."""
        self.count(rows, forwards=1)
        answers, unsent = self.box.ask(pixels, self.y[rows])
        if self.classifier.classes is not None:
            self.check_classes(self.classifier.num_classes)
        for place, reason in unsent.items():
            row = rows[place : place + 1]
            self.count(row, forwards=-1)
            self.queries[row] -= queries
            self._unsent[int(row)] = reason
        return answers

    def _affordable(self, rows: Tensor) -> Tensor:
        """Select the first images (m,) bool of each row that its budget allows."""
        order = rows.argsort(stable=True)
        ordered = rows[order]
        rank = torch.arange(len(rows), device=rows.device) - torch.searchsorted(ordered, ordered)
        return torch.empty_like(rank).scatter_(0, order, rank) < self.left(rows)

    def _confirm(self, rows: Tensor, pixels: Tensor, answers: Answers) -> Answers:
        """Ask images that reach the goal again; one that does not reach it every time is not usable."""
        label, margin = answers.label.clone(), answers.margin.clone()
        for _ in range(self.config.confirm):
            claimed = self.box.answers(label, margin, self.y[rows]).reached.nonzero().flatten()
            affordable = self._affordable(rows[claimed])
            label[claimed[~affordable]] = -1
            claimed = claimed[affordable]
            if not len(claimed):
                break
            again = self._send(rows[claimed], pixels[claimed])
            label[claimed[~again.reached]] = -1
            margin[claimed] = torch.maximum(margin[claimed], again.margin)
        return self.box.answers(label, margin, self.y[rows])

    def _check_again(self, rows: Tensor) -> None:
        """Ask the known image of each row again if it is due, and a third time if its answer differs."""
        due = self._steadiness.due(rows, self.queries)
        due = due[self.left(due) > 0]
        if not len(due):
            return
        second = self._send(due, self._steadiness.images(due))
        different = self._steadiness.differs(due, second)
        due, second = due[different], second.at(different)
        third_due = self.left(due) > 0
        if not len(due):
            return
        third = self._send(due[third_due], self._steadiness.images(due[third_due]))
        self.mark(self._steadiness.judge(due, second, third_due, third), Status.REFUSED, self._steadiness.UNSTEADY)
