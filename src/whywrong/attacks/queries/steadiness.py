"""Notice scores that do not change, answers that are not repeatable, and a model that changes in mid-run."""

from __future__ import annotations

import torch
from torch import Tensor

from whywrong.attacks.queries.answers import Answers
from whywrong.core.errors import EnvironmentFailure

_SAME = 1e-3  # share of a margin by which answers to one image may differ, as in batches of other sizes
_FLAT = 12  # different images in a row with exactly equal margins that make a plateau
_CHANGED = (
    "the model answers an image differently than before, and keeps to the new answer: it has changed in mid-run, and "
    "its answers do not belong together; start again, with a new ledger if it is an endpoint"
)


class Steadiness:
    """Comparison of the answers to each row with each other.

    Args:
        batch: Number of rows.
        ask_again: Queries of a row after which its known image is due again; 0 never.
        labels_only: Whether only the predicted classes of the known image are compared.
    """

    UNSTEADY = "asked again, the model gave another answer; set confirm to ask each result several times"

    def __init__(self, batch: int, ask_again: int, *, labels_only: bool) -> None:
        self._ask_again, self._labels_only = ask_again, labels_only
        self._known: dict[int, tuple[Tensor, int, float]] = {}
        self._done = [0] * batch
        self._last = torch.full((batch,), torch.nan)
        self._equal = torch.zeros(batch, dtype=torch.int64)

    def compare(self, rows: Tensor, margin: Tensor) -> None:
        """Count how often the margins (n,) of ``rows`` (n,), each row once, equal the ones before."""
        self._last, self._equal = self._last.to(margin.device), self._equal.to(margin.device)
        self._equal[rows] = torch.where(margin == self._last[rows], self._equal[rows] + 1, 0)
        self._last[rows] = margin

    def plateau(self, rows: Tensor) -> Tensor:
        """Return whether the margins of rows have stopped changing, (n,) bool."""
        return self._equal.to(rows.device)[rows] >= _FLAT - 1

    def remember(self, rows: Tensor, pixels: Tensor, answers: Answers) -> None:
        """Keep the first usable answer of each row."""
        if not self._ask_again:
            return
        for place, (row, label) in enumerate(zip(rows.tolist(), answers.label.tolist(), strict=True)):
            if label >= 0 and row not in self._known:
                self._known[row] = pixels[place].clone(), label, float(answers.margin[place])

    def due(self, rows: Tensor, queries: Tensor) -> Tensor:
        """Return the rows (n,), each once, whose known image is to be asked again."""
        if not self._ask_again:
            return rows[:0]
        found = []
        counts = dict(zip(rows.tolist(), queries[rows].tolist(), strict=True))
        for row, count in counts.items():
            if row in self._known and count // self._ask_again > self._done[row]:
                self._done[row] = count // self._ask_again
                found.append(row)
        return torch.tensor(found, dtype=torch.int64, device=rows.device)

    def images(self, rows: Tensor) -> Tensor:
        """Return the known images (n, C, H, W) of rows."""
        return torch.stack([self._known[row][0] for row in rows.tolist()])

    def differs(self, rows: Tensor, again: Answers) -> Tensor:
        """Compare further answers (n,) to the known images with the first ones, (n,) bool."""
        label = again.label.new_tensor([self._known[row][1] for row in rows.tolist()])
        margin = again.margin.new_tensor([self._known[row][2] for row in rows.tolist()])
        return self._differ(label, margin, again)

    def judge(self, rows: Tensor, second: Answers, asked: Tensor, third: Answers) -> Tensor:
        """Tell a changed model from one that is not repeatable, for rows whose second answer differs.

        Args:
            rows: (n,).
            second: Answers (n,).
            asked: (n,), bool, rows whose known image was asked a third time.
            third: Their answers.

        Returns:
            Rows (m,) whose answers are not repeatable.

        Raises:
            EnvironmentFailure: A third answer equals the second one, so that the model has changed.
        """
        before = second.at(asked)
        if bool((~self._differ(before.label, before.margin, third)).any()):
            raise EnvironmentFailure(_CHANGED)
        return rows

    def _differ(self, label: Tensor, margin: Tensor, again: Answers) -> Tensor:
        other = label != again.label
        if self._labels_only:
            return other
        return other | ((margin - again.margin).abs() > _SAME * (1 + margin.abs()))
