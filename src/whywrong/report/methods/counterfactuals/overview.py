"""Chart of the counterfactuals of all errors of a run, and a filter of the gallery by trust."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from whywrong.report.methods.base import Chart, Choice, Facet
from whywrong.report.methods.counterfactuals.section import TRUSTED, largest, trusted
from whywrong.report.numbers import count, share, shown
from whywrong.report.primitives.charts import FEWEST, Bars, bars_of
from whywrong.report.primitives.run_summary import RunSummary
from whywrong.report.tables import Row, Tables

OUTCOMES = ("semantic", "undecided", "adversarial", "unchecked", "not reached")
BY_NOISE, NOT_REACHED, NOT_ASKED = "led by noise", "not reached", "not looked for"
TRUST = ("semantic", "undecided", "adversarial", "unchecked", BY_NOISE, NOT_REACHED, NOT_ASKED)


def overview(tables: Tables, summary: RunSummary) -> list[Chart]:
    """Draw the chart of trust verdicts, if there are enough errors."""
    chart = trust(tables)
    return [] if chart is None else [chart]


def trust(tables: Tables) -> Bars | None:
    """Count the counterfactuals into the true class by trust verdict.

    For each error, the counterfactual at the largest radius counts.
    """
    if not tables.has("counterfactuals", "role", "eps", "trust", "valid"):
        return None
    rows = tables.rows(
        "select role, case when valid then trust else 'not reached' end as verdict, count(*) as n from"
        " (select role, arg_max(trust, eps) as trust, arg_max(valid, eps) as valid"
        " from counterfactuals c join items using (item_id)"
        " where c.status = 'ok' and same_as is null and role in ('true', 'wrong') group by item_id, role)"
        " group by 1, 2"
    )
    numbers = {(row["role"], row["verdict"]): row["n"] for row in rows}
    total = {role: sum(n for (of, _), n in numbers.items() if of == role) for role in ("true", "wrong")}
    if total["true"] < FEWEST:
        return None
    bars = [(word, numbers.get(("true", word), 0)) for word in OUTCOMES]
    believed = numbers.get(("true", "semantic"), 0)
    deeper = numbers.get(("wrong", "semantic"), 0)
    return Bars(
        "trust",
        "What counterfactuals show",
        _trust_readings(believed, total["true"], deeper, total["wrong"]),
        f"trust in the change into the true class, {count(total['true'], 'error')}",
        bars_of([bar for bar in bars if bar[1]], total["true"]),
    )


def _trust_readings(believed: int, errors: int, deeper: int, others: int) -> list[str]:
    if not believed and not deeper:
        return [
            f"For {count(errors, 'error')}, no change was found that other models see as well, so none is shown as an"
            " explanation."
        ]
    found = [
        f"For {share(believed, errors)} of the errors, a change into the true class was found that other models see as"
        " well." + (" Do not take the other changes as explanations." if believed < errors else "")
    ]
    if others:
        found.append(
            f"The same holds for {share(deeper, others)} of the changes that go deeper into the predicted class."
        )
    return found


def trust_of(row: Row) -> str:
    """Return the outcome of the counterfactual into the true class.

    It is a word of :data:`TRUST`; of several radii, the largest one counts.
    """
    changed = largest(row["counterfactuals"] or [], "true")
    if changed is None or changed["status"] != "ok":
        return NOT_ASKED
    if not changed["valid"]:
        return NOT_REACHED
    word = changed["trust"] or "unchecked"
    return BY_NOISE if word == TRUSTED and not trusted(changed) else shown(word)


def choices(rows: Sequence[Row]) -> list[Choice]:
    """List the outcomes that occur in these errors."""
    numbers = Counter(map(trust_of, rows))
    if not set(numbers) - {NOT_ASKED}:
        return []
    words = [word for word in (*TRUST[:-1], *sorted(set(numbers) - set(TRUST)), NOT_ASKED) if numbers[word]]
    return [Choice(word, word, numbers[word]) for word in words]


FACET = Facet(key="trust", title="Counterfactual", value=trust_of, choices=choices, every="any trust")
