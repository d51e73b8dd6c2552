"""Write the figures of a benchmark as a page in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_LINES = (
    ("f1_causes", "macro-F1 over the causes, ordinary errors aside"),
    ("f1_all", "macro-F1 with ordinary errors as one more class"),
    ("accuracy_50", "accuracy of the surest half"),
    ("accuracy_70", "accuracy of the surest 70 %"),
    ("top_two", "true class among the two likeliest"),
    ("coverage", "share of errors with a named cause"),
    ("stated_right", "named causes that are right"),
    ("ordinary_called", "ordinary errors with a named cause"),
    ("bystanders_corruption", "bystanders called corruption"),
    ("natural_corruption", "natural errors called corruption"),
    ("ece", "calibration error (ten bins of equal mass)"),
    ("ece_null", "the same of a perfect forecaster, mean"),
    ("ece_high", "the same of a perfect forecaster, 95 % quantile"),
    ("ece_classes", "calibration error by class, mean"),
    ("brier", "Brier score"),
    ("set_coverage", "true class in the 90 % set"),
    ("set_size", "size of the 90 % set, mean"),
)


def page(record: Mapping[str, Any]) -> str:
    """Return the page of a record, see :func:`whywrong.planting.verdicts.benchmark.running.run_benchmark`."""
    found = record["figures"]
    names = [("shipped combiner", found)]
    if "adapted" in record:
        names.append(("adapted to this model", record["adapted"]["figures"]))
    parts = [
        "# How often the verdicts are right",
        f"Model: `{record['model']}`. Images: `{record['data']}`. Helper: {record['helper'] or 'none'}. "
        f"Combiner: `{record['combiner'] or 'none'}`.",
        f"{found['figures']['n']} planted and natural errors were diagnosed without a look at their causes, against "
        f"{record['reference']} correct images.",
        "## Figures",
        _figures(names),
        "## Named against true",
        "Rows are true causes, columns what is most probable.",
        _confusion(found["classes"], found["confusion"]),
        "## By kind",
        _table(("planted", "right", "of"), ((kind, *pair) for kind, pair in sorted(found["recall"].items()))),
        "## Tests",
        _tests(found["tested"]),
        "## Two causes",
        _table(
            ("needs", "errors", "one of them is most probable", "both in the 90 % set"),
            ((k, v["count"], v["one_named"], v["both_in_set"]) for k, v in found["doubles"].items()),
        ),
        "## Single methods",
        "Each group of signs alone, fitted on the planted errors of other photographs.",
        _table(("signs", "macro-F1 of causes", "with ordinary"), ((g, *v) for g, v in record["groups_alone"].items())),
        "Single numbers, as the probability that they rank an error of their cause above any other.",
        _table(("cause", "rule", "area"), ((r["cause"], r["rule"], r["auc"]) for r in record["rules"])),
        "## Cost",
        _costs(record["costs"]),
        "## Risk against coverage",
        _table(("share kept", "share wrong"), found["risk_coverage"][1::2]),
    ]
    if record["left_out"]:
        parts += ["## Left out", _table(("what", "why"), record["left_out"].items())]
    return "\n\n".join(part for part in parts if part) + "\n"


def _figures(found: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    rows = []
    for key, words in _LINES:
        cells = []
        for _, one in found:
            value, interval = one["figures"].get(key), one["intervals"].get(key)
            text = "-" if value is None else f"{value:.3f}"
            cells.append(
                f"{text} [{interval[0]:.3f}, {interval[1]:.3f}]" if interval and None not in interval else text
            )
        rows.append((words, *cells))
    return _table(("figure", *(name for name, _ in found)), rows)


def _confusion(classes: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    some = [at for at in range(len(classes)) if sum(counts[at]) or sum(row[at] for row in counts)]
    return _table(
        ("", *(classes[at] for at in some)), ((classes[row], *(counts[row][at] for at in some)) for row in some)
    )


def _tests(tested: Mapping[str, Any]) -> str:
    outcomes = ("supported", "contradicted", "untested")
    table = _table(
        ("true cause", *outcomes),
        ((truth, *(counts.get(one, 0) for one in outcomes)) for truth, counts in tested["by_truth"].items()),
    )
    if not tested["supported"]:
        return f"{table}\n\nNo named cause was supported by its test."
    return (
        f"{table}\n\n{tested['supported_right']} of {tested['supported']} supported causes are true "
        f"[{tested['low']:.2f}, {tested['high']:.2f}]."
    )


def _costs(costs: Mapping[str, Any]) -> str:
    rows = [(name, passes) for name, passes in costs.get("by_step", {}).items()]
    rows += [("reference, once a run", costs.get("reference", 0))]
    each, over = costs.get("for_each_error"), costs.get("over_floor")
    text = "" if each is None else f"{each:.1f} passes an error without the reference. "
    text += f"{costs['seconds']:.0f} s, "
    text += "" if over is None else f"{over:.2f} times the time of the passes alone."
    return f"{_table(('step', 'passes'), rows)}\n\n{text}"


def _table(head: Sequence[Any], rows: Iterable[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join("-" if cell is None else str(cell) for cell in line) + " |" for line in lines)
