"""The page that says what the shipped combiner was fitted on, and how well it does on nets that train nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from whywrong.verdicts.causes import CLASSES
from whywrong.verdicts.combiner.model import Combiner
from whywrong.verdicts.combiner.stored import combiner_hash

_COLUMNS = (
    ("n", "errors", "{:,}"),
    ("f1_causes", "F1, causes", "{:.3f}"),
    ("f1_all", "F1, with ordinary", "{:.3f}"),
    ("accuracy_70", "accuracy at 70 %", "{:.3f}"),
    ("ece", "ECE", "{:.3f}"),
    ("ece_high", "ECE, 95 % of a perfect forecaster", "{:.3f}"),
    ("coverage", "stated", "{:.0%}"),
    ("stated_right", "stated and right", "{:.0%}"),
    ("ordinary_called", "ordinary, stated", "{:.0%}"),
)

_INTRODUCTION = """# The shipped combiner

```bash
whywrong verdict runs/a
```

This command turns [signs](signs.md) into calibrated causes with the combiner that ships with the package.
`make verdict` plants errors, measures them, fits the combiner, and writes this page.
"""
_FIGURES = """\
A bystander carries damage, a cue or a cover that does not cause its error. Its cause is `ordinary`. A double has two
causes, and either counts as right.

## Figures

Each net is predicted by a model of the other nets. Nets of its family and its helper train nothing. Nets that it
helps train without its answers. Of the same images, only the other half trains. Temperature and threshold come from
the other nets.
"""
_STAGES = """## Access and stages

`L`, `S`, `G` and `I` stand for access to answers, scores, gradients and layers. The number is the last stage of the
cascade. All nets are counted together.
"""
_TRIED = """## What limits it

Macro-F1 over the causes and with `ordinary`, on nets left out, before calibration and without helper.

| what was changed | before | after |
|---|---|---|
| five CIFAR nets: boosted trees beside the regression and the forest | 0.811, 0.642 | 0.833, 0.663 |
| the same: errors planted in other, JPEG-compressed images train too | 0.833, 0.663 | 0.845, 0.680 |
| four CIFAR nets: shares that interventions restored as further columns | 0.830, 0.645 | 0.825, 0.642 |
| two nets on drawn pictures: trained on drawn pictures alone | 0.697, 0.604 | 0.728, 0.629 |
| four nets: without differences to 12 images of equal margin | 0.712, 0.556 | 0.763, 0.588 |

- **Ordinary errors.** Bystanders carry a cause that is not theirs, and look like it. Natural errors have causes of
  their own that nobody planted. Only a test can tell, and a cause with a test is stated only if the test supports it.
- **Few errors.** Twice as many errors and trees in place of a regression brought the drawn nets from 0.57 to 0.70.
- **Class shares.** Expectation maximisation gives nearly all errors to one class if probabilities are low. Macro-F1
  with `ordinary` fell from 0.55 to 0.25. Imagined errors, 40 of each class, prevent it.
- **Unlike nets.** Adversarially trained transformers and drawn pictures differ most from the rest.
"""


def card(nets: Sequence[Mapping[str, Any]], figures: Mapping[str, Any], combiner: Combiner, size: int) -> str:
    """Write the page in Markdown.

    Args:
        nets: What is known of each table.
        figures: Result of :func:`whywrong.planting.verdicts.train.measure`.
        combiner: The combiner that ships.
        size: Bytes of its file.
    """
    parts = [
        _INTRODUCTION,
        f"The file `shipped.npz` has {size / 2**20:.1f} MB and holds fitted numbers only, no images. It is read\n"
        f"without pickle. The SHA-256 of its arrays begins with `{combiner_hash(combiner)[:16]}`.\n",
        "## Nets and images\n",
        _nets(nets),
        _only_train(nets, figures),
        _FIGURES,
        *(_situation(name, pools) for name, pools in figures["situations"].items()),
        _STAGES,
        _by_situation(figures["by_situation"]),
        "## Groups of evidence alone\n\nThe same fits with one group of evidence, all stages, no helper.\n",
        _alone(figures.get("groups_alone") or {}),
        _TRIED,
        "## Recall by kind\n",
        *(_recall(name, pools["all"]) for name, pools in list(figures["situations"].items())[-1:]),
    ]
    return "\n".join(part for part in parts if part)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _nets(nets: Sequence[Mapping[str, Any]]) -> str:
    head = ["net", "family", "images", "licence of the images", "helper", "errors", "bystanders", "doubles", "natural"]
    rows = [
        [
            *(str(net[key]) or "none" for key in ("net", "family", "data", "licence", "helper")),
            str(net["errors"]),
            *(str(net["roles"].get(role, 0)) for role in ("bystander", "double", "natural")),
        ]
        for net in nets
    ]
    return _table(head, rows)


def _only_train(nets: Sequence[Mapping[str, Any]], figures: Mapping[str, Any]) -> str:
    """Name the images whose errors train and are not predicted."""
    tested = {pool for pools in figures["situations"].values() for pool in pools}
    names = sorted({str(net["data"]) for net in nets} - tested)
    return f"Errors of {', '.join(names)} only train.\n" if names else ""


def _situation(name: str, pools: Mapping[str, Any]) -> str:
    rows = [[pool, *(_shown(values[key], form) for key, _, form in _COLUMNS)] for pool, values in pools.items()]
    title = "With helper" if name.endswith("helper") else "Without helper"
    counts = [
        [cause, *(str(count) for count in row)] for cause, row in zip(CLASSES, pools["all"]["confusion"], strict=True)
    ]
    return "\n".join(
        [
            f"### {title}\n",
            _table(["", *(title for _, title, _ in _COLUMNS)], rows),
            "True causes in rows, likeliest classes in columns, all nets together.\n",
            _table(["", *CLASSES], counts),
        ]
    )


def _by_situation(found: Mapping[str, Mapping[str, float]]) -> str:
    some = [column for column in _COLUMNS if column[0] in next(iter(found.values()))]
    rows = [[name, *(_shown(values[key], form) for key, _, form in some)] for name, values in found.items()]
    return _table(["", *(title for _, title, _ in some)], rows)


def _alone(found: Mapping[str, Sequence[float]]) -> str:
    rows = [[group, *(_shown(value, "{:.3f}") for value in pair)] for group, pair in found.items()]
    return _table(["group", "F1, causes", "F1, with ordinary"], rows) if rows else ""


def _recall(name: str, values: Mapping[str, Any]) -> str:
    rows = [[kind, f"{hits} of {count}"] for kind, (hits, count) in values["recall"].items()]
    return f"All nets together, {name}.\n\n" + _table(["kind", "found"], rows)


def _shown(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)
