"""The numbers of a run and the headline made from them; no HTML."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from whywrong.core.statistics import Interval, wilson
from whywrong.core.status import Status
from whywrong.report.tables import Tables

CONFIDENT = 0.9  # a confidence from which the report calls a wrong answer confident


SKIPPED = Status.SKIPPED


@dataclass(frozen=True, slots=True)
class Pair:
    """A confusion: images of class ``label`` read as ``predicted``, ``number`` of the ``of`` labelled so."""

    label: int
    predicted: int
    number: int
    of: int


@dataclass(frozen=True, slots=True)
class Places:
    """What covering with rivals found in a run.

    Attributes:
        asked: Distinct errors that were asked about.
        confirmed: Those of them with a confirmed place.
        controls: Images read right that they were compared with; too few of them confirm nothing.
        held_out: Images read right that were held out and asked as well.
        called: Those of them with P at or below 0.1, against the other controls.
    """

    asked: int
    confirmed: int
    controls: int
    held_out: int
    called: int


@dataclass(slots=True)
class Facts:
    """What was counted and measured in a run.

    Attributes:
        items: Entries of the source; ``read`` of them were classified, ``failed`` could not be, ``waiting`` are
            still to do, ``left_out`` are not in the random sample that was asked for; ``labelled`` of the read ones
            carry a label, ``errors`` of these are wrong.
        complete: Whether the run has done all it set out to do.
        duplicates: Entries whose bytes and label equal those of an earlier one.
        near_ties: Read images whose top two classes lie within 1e-5.
        pairs: Confusions, most frequent first.
        confident, suspects: Errors made with at least ``CONFIDENT`` confidence; those among them whose true class
            is not among the five best.
        distances: (N,) smallest linf change known for each fixed error, grey levels, ascending; None if no fix ran.
        statuses: Outcomes of the inverted attack; empty if it did not run.
        refused: How often a method gave a reason why it shows nothing, by view and reason.
        enough: (N,) smallest number of patches that was found enough for the answer, of each error, ascending; None if
            patch groups did not run. ``grouped`` errors were searched, in images of ``patches`` patches.
        places: What covering with rivals found; None if it did not run.
        targeted: (M,) smallest number of patches found whose absence makes the labelled class win, ascending.
        passes: Forwards and backwards spent, by method.
    """

    items: int = 0
    complete: bool = True
    read: int = 0
    labelled: int = 0
    errors: int = 0
    failed: int = 0
    waiting: int = 0
    left_out: int = 0
    duplicates: int = 0
    near_ties: int = 0
    pairs: list[Pair] = field(default_factory=list)
    confident: int = 0
    suspects: int = 0
    distances: np.ndarray | None = None
    statuses: Counter[str] = field(default_factory=Counter)
    u8_fixed: int = 0
    evidence: int = 0
    refused: Counter[tuple[str, str]] = field(default_factory=Counter)
    enough: np.ndarray | None = None
    targeted: np.ndarray | None = None
    grouped: int = 0
    patches: int = 0
    places: Places | None = None
    passes: dict[str, tuple[int, int]] = field(default_factory=dict)
    seconds: float | None = None

    @property
    def accuracy(self) -> Interval:
        """Share of the labelled images that were read correctly."""
        return wilson(self.labelled - self.errors, self.labelled)

    @property
    def fixed(self) -> int:
        """Errors for which a fix is known."""
        return self.statuses[Status.OK]

    @property
    def attacked(self) -> int:
        """Errors that the inverted attack has treated."""
        return sum(n for status, n in self.statuses.items() if status != Status.ALREADY_CORRECT)


def gather(tables: Tables) -> Facts:
    """Count and measure everything the report says about the run as a whole."""
    facts = Facts(items=tables.value("select count(*) from items"), complete=bool(tables.meta.get("complete", True)))
    facts.duplicates = tables.value("select count(*) from items where same_as is not null")
    if tables.has("predictions"):
        row = tables.rows(
            "select count(*) as read, count(label) as labelled, count_if(near_tie) as ties"
            " from predictions where status = 'ok'"
        )[0]
        facts.read, facts.labelled, facts.near_ties = row["read"], row["labelled"], row["ties"] or 0
        facts.passes["predictions"] = (facts.read - _repeated(tables), 0)
        facts.failed = tables.value("select count(*) from predictions where status <> 'ok'")
    if tables.has("errors"):
        _errors(tables, facts)
    facts.waiting = max(0, facts.items - facts.read - facts.failed)
    if tables.meta.get("images") and tables.has("predictions"):
        sample = f"select item_id from items where same_as is null order by item_id limit {int(tables.meta['images'])}"
        asked = tables.value(f"select count(*) from ({sample}) s anti join predictions p using (item_id)")
        facts.waiting, facts.left_out = asked, facts.waiting - asked
    if tables.has("inverted"):
        _inverted(tables, facts)
    if tables.has("cam"):
        facts.evidence = tables.value("select count(*) from cam where status = 'ok'")
    if tables.has("patch_groups", "sufficient_size", "targeted_size"):
        _patch_groups(tables, facts)
    if tables.has("covering", "place_confirmed") and tables.has("covering_controls", "held_out", "p"):
        facts.places = _places(tables)
    for view in ("covering", "cam", "patch_groups", "profiles", "counterfactuals"):
        if tables.has(view, "status", "reason"):
            for row in tables.rows(
                f"select reason, count(distinct item_id) as n from {view}"
                f" where status <> 'ok' and status <> '{SKIPPED}' group by reason"
            ):
                facts.refused[view, row["reason"] or "no reason given"] += row["n"]
    for view in ("inverted", "covering", "covering_controls", "cam", "patch_groups", "profiles", "counterfactuals"):
        if tables.has(view, "forwards", "backwards"):
            row = tables.rows(
                "select sum(f) as f, sum(b) as b from (select any_value(forwards) as f, any_value(backwards) as b"
                f" from {view} join items using (item_id)"
                " where same_as is null group by item_id)"  # a repeated image was not computed again
            )[0]
            facts.passes[view] = (int(row["f"] or 0), int(row["b"] or 0))
    facts.seconds = tables.seconds()
    return facts


def _repeated(tables: Tables) -> int:
    """Read images that were not computed again, because an earlier one is the same."""
    return tables.value(
        "select count(*) from predictions p join items i using (item_id)"
        " where p.status = 'ok' and i.same_as is not null"
    )


def _errors(tables: Tables, facts: Facts) -> None:
    facts.errors = tables.value("select count(*) from errors")
    labelled = {
        row["label"]: row["n"]
        for row in tables.rows(
            "select label, count(*) as n from predictions where status = 'ok' and label is not null group by label"
        )
    }
    facts.pairs = [
        Pair(row["label"], row["predicted"], row["n"], labelled.get(row["label"], row["n"]))
        for row in tables.rows(
            "select label, predicted, count(*) as n from errors group by label, predicted"
            " order by n desc, label, predicted"
        )
    ]
    row = tables.rows(
        f"select count_if(confidence >= {CONFIDENT}) as confident,"
        f" count_if(confidence >= {CONFIDENT} and rank_of_true > 5) as suspects from errors"
    )[0]
    facts.confident, facts.suspects = row["confident"] or 0, row["suspects"] or 0


def _places(tables: Tables) -> Places:
    found = tables.rows(
        "select count(*) as asked, count_if(place_confirmed) as confirmed, max(controls) as controls"
        " from covering join items using (item_id) where status = 'ok' and same_as is null"
    )[0]
    apart = tables.rows(
        "select count(*) as held_out, count_if(p <= 0.1) as called from covering_controls"
        " where status = 'ok' and held_out"
    )[0]
    numbers = {**found, **apart}
    return Places(**{name: int(value or 0) for name, value in numbers.items()})


def _patch_groups(tables: Tables, facts: Facts) -> None:
    row = tables.rows("select count(*) as n, mode(rows * cols) as patches from patch_groups where status = 'ok'")[0]
    facts.grouped, facts.patches = row["n"], int(row["patches"] or 0)
    sizes = "select {0}_size from patch_groups where status = 'ok' and {0}_found"
    facts.enough = np.sort(tables.array(sizes.format("sufficient")))
    facts.targeted = np.sort(tables.array(sizes.format("targeted")))


def _inverted(tables: Tables, facts: Facts) -> None:
    for row in tables.rows("select status, count(*) as n from inverted group by status"):
        facts.statuses[row["status"]] = row["n"]
    facts.distances = np.sort(tables.array("select rho_linf from inverted where status = 'ok'")) * 255
    facts.u8_fixed = tables.value("select count(*) from inverted where status = 'ok' and u8_fixed")
