"""Method and limits: what ran on what, with which settings, what was refused, and whom to cite."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from whywrong.core.registry import methods
from whywrong.report.headline import held_out_rate
from whywrong.report.numbers import count, listed, shown
from whywrong.report.summary import SKIPPED, Facts
from whywrong.report.tables import Tables

PAPERS = {
    "inverted": (
        "Inverted attack: R. Haffar, N. Jebreel, J. Domingo-Ferrer, D. Sánchez, “Explaining Image Misclassification in"
        " Deep Learning via Adversarial Examples”, MDAI 2021, LNAI 12898, pp. 323–334,"
        " doi:10.1007/978-3-030-85529-1_26. The Newton step and the region fix are ours.",
    ),
    "cam": (
        "Class activation map: B. Zhou et al., “Learning Deep Features for Discriminative Localization”, CVPR 2016,"
        " arXiv:1512.04150.",
        "HiResCAM: R. L. Draelos, L. Carin, “Use HiResCAM instead of Grad-CAM for faithful explanations of"
        " convolutional neural networks”, 2020, arXiv:2011.08891.",
    ),
    "covering": (
        "Covering: M. D. Zeiler, R. Fergus, “Visualizing and Understanding Convolutional Networks”, ECCV 2014,"
        " arXiv:1311.2901. Rivals, controls in role play and the test are ours.",
        "False discovery rate: Y. Benjamini, Y. Hochberg, “Controlling the False Discovery Rate”, JRSS B 57 (1995),"
        " pp. 289–300.",
    ),
    "profiles": (
        "Multi-order interactions of misclassified images: Y. Sumiyasu et al., “Game-Theoretic Understanding of"
        " Misclassification”, 2022, arXiv:2210.03349.",
        "Strength of interactions by order: H. Deng et al., “Discovering and Explaining the Representation"
        " Bottleneck of DNNs”, ICLR 2022, arXiv:2111.06236. The unbiased square, its interval and the noise share are"
        " ours.",
    ),
    "patch_groups": (
        "Patch groups (MoXI): K. Sumiyasu, K. Kawamoto, H. Kera, “Identifying Important Group of Pixels using"
        " Interactions”, CVPR 2024, arXiv:2401.03785. The stop at the flip is ours.",
    ),
    "counterfactuals": (
        "Sparse counterfactuals: V. Boreiko, M. Augustin, F. Croce, P. Berens, M. Hein, “Sparse Visual Counterfactual"
        " Explanations in Image Space”, GCPR 2022, LNCS 13485, arXiv:2205.07972. The trust verdict is ours.",
    ),
}
LIMITS = {
    "inverted": (
        "Where a fix lies shows where the model is sensitive, for any class: it says nothing about the cause of an"
        " error.",
    ),
    "covering": (
        "A place is confirmed only if it is small and hides the truth. That none is confirmed does not mean that there"
        " is none: occluders and causes that are spread out are missed.",
    ),
    "profiles": (
        "An interaction profile says how strongly neighbouring patches work together for one class and one value"
        " function; with another class or value function it may look different. It names no cause by itself.",
    ),
    "patch_groups": (
        "Patch groups are found greedily: a smaller group may exist. A model shown a few patches sees an image unlike"
        " any it was trained on.",
    ),
    "counterfactuals": (
        "A counterfactual shows what moves this model. Only where its change is trusted does it show something that a"
        " person would call the class.",
    ),
}
INTERVALS = (
    "Wilson interval: E. B. Wilson, “Probable Inference, the Law of Succession, and Statistical Inference”, JASA 22"
    " (1927), pp. 209–212."
)
WORDS = {
    "inverted": (
        ("fix", "the least changed image found that the classifier reads as the labelled class"),
        ("8-bit fix", "a fix with whole grey levels, tested again"),
        ("region fix", "a fix confined to few superpixels"),
        ("lift", "a share of the map divided by the share of the area; 1 is chance"),
    ),
    "covering": (
        (
            "place confirmed",
            "hiding this place brings out the true class and no other as much, more than in images read right",
        ),
        ("role play", "an image read right, asked for its runner-up as if that were its label"),
    ),
    "profiles": (
        ("log-odds", "logit of a class minus the log-sum-exp of all other logits; 0 is a probability of one half"),
        (
            "interaction",
            "what two patches do to the log-odds together beyond what each does alone",
        ),
        ("strength", "root of the mean square of the interactions, the share of noise taken off"),
    ),
    "patch_groups": (("enough", "patches that, with all others hidden, give the answer of the whole image"),),
    "counterfactuals": (
        ("counterfactual", "the image changed, within a bound, until the model reads it as a class that was chosen"),
        ("semantic", "the change lasts, and classifiers that took no part in the search see it, too"),
        ("adversarial", "the change moves this model only"),
    ),
}
NOUNS = {
    "covering": ("search for a place", "searches for a place"),
    "cam": ("evidence map",),
    "patch_groups": ("search for patch groups", "searches for patch groups"),
    "profiles": ("interaction profile",),
    "counterfactuals": ("search for counterfactuals", "searches for counterfactuals"),
}
NOT_TESTED = (
    "Causes were not tested: wrong or ambiguous labels, damaged images, misleading cues, occlusion and unfamiliar"
    " images are not told apart here.",
    "Fixes, evidence and regions live in the image as the model sees it, after resizing and cropping; they are drawn"
    " back on the photograph.",
    "A distance to right is the smallest found, not proven smallest: the true one can only be smaller.",
    "Maps are drawn smooth or coarse for reading; the exact values are in the folder “maps” of the run.",
)


@dataclass(slots=True)
class Ran:
    """One method of the run: what it answers, how many rows, its settings, its citations."""

    name: str
    title: str
    rows: str
    settings: list[tuple[str, str]]
    papers: tuple[str, ...]


@dataclass(slots=True)
class Description:
    """The last section of the report."""

    ran: list[Ran] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    stopped: list[tuple[str, str]] = field(default_factory=list)
    run: list[tuple[str, str]] = field(default_factory=list)
    health: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    failed: list[tuple[str, str, str]] = field(default_factory=list)
    unlisted: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)
    limits: tuple[str, ...] = NOT_TESTED
    papers: list[str] = field(default_factory=list)
    words: list[tuple[str, str]] = field(
        default_factory=lambda: [("error", "an item whose predicted class differs from its label")]
    )


def subject(meta: Mapping[str, Any]) -> tuple[str, str, str]:
    """Model, data and date of a run, as short as they can be said."""
    given = meta.get("given") or {}
    model = shown((meta.get("model") or {}).get("source") or given.get("model") or "a classifier in memory")
    source = (meta.get("data") or {}).get("source")
    path = source.get("path") if isinstance(source, Mapping) else source
    if isinstance(source, Mapping) and source.get("kind") == "planted":
        path = f"planted:{path}"
    elif isinstance(source, Mapping) and source.get("kind") == "object":
        path = given.get("data")
    data = shown(path or "images in memory")
    return model.rsplit("/", 1)[-1], data.rstrip("/").rsplit("/", 1)[-1], shown(meta.get("created") or "")[:10]


def describe(tables: Tables, facts: Facts, most: int = 200) -> Description:
    """Everything that is needed to judge the report, and to make it again."""
    meta = tables.meta
    text = Description(run=_identities(meta))
    asked, refused = meta.get("methods") or {}, meta.get("refused") or {}
    for name, method in methods().items():
        if name in refused:
            text.stopped.append((name, shown(refused[name])))
        elif name not in asked and not tables.has(name):
            text.missing.append(f"{name} ({method.title})")
        if name not in asked and not tables.has(name):
            continue
        entry = asked.get(name) or {}
        n = _treated(tables, name)
        settings = [(shown(key), shown(_setting(value))) for key, value in _flat(entry.get("config") or {})]
        papers = PAPERS.get(name, ())
        rows = f"{count(n, 'error')} treated" if n else "nothing stored yet"
        text.ran.append(Ran(name, method.title, rows, settings, papers))
        text.papers += papers
        text.limits += LIMITS.get(name, ())
        if name == "covering" and facts.places is not None:
            text.limits += (held_out_rate(facts.places),)
    text.papers.append(INTERVALS)
    for name in (ran.name for ran in text.ran):
        text.words += WORDS.get(name, ())
    text.health = [(shown(finding["level"]), shown(finding["text"])) for finding in meta.get("health") or ()]
    data = meta.get("data") or {}
    text.warnings = [shown(warning) for warning in [*(data.get("warnings") or ()), *(meta.get("notes") or ())]]
    ignored = data.get("ignored") or {}
    if sum(ignored.values()):
        kinds = ", ".join(f"{shown(name)} ({n:,})" for name, n in ignored.items())
        text.warnings.append(f"Left out of the data: {kinds}.")
    text.warnings += _fallbacks(tables)
    if facts.duplicates:
        text.warnings.append(
            f"{count(facts.duplicates, 'item')} repeat an earlier image with the same label: computed once, counted"
            " under every name."
        )
    if facts.near_ties:
        text.warnings.append(
            f"{count(facts.near_ties, 'image')} have their two best classes within 1e-5: rounding may decide them."
        )
    if tables.has("failed_items"):
        total = tables.value("select count(*) from failed_items")
        rows = tables.rows(f"select key, stage, reason from failed_items order by stage, key limit {most}")
        text.failed = [(shown(r["key"]), shown(r["stage"]), shown(r["reason"])) for r in rows]
        text.unlisted = total - len(rows)
    text.refused = [
        (count(n, *NOUNS.get(view, (view,))), shown(reason)) for (view, reason), n in facts.refused.most_common()
    ]
    return text


def _fallbacks(tables: Tables) -> list[str]:
    """Why patches had to be covered with pixels, each reason once."""
    found: dict[str, list[str]] = {}
    for view in ("profiles", "patch_groups"):
        if tables.has(view, "fallback"):
            rows = tables.rows(f"select distinct fallback from {view} where fallback is not null order by 1")
            for row in rows:
                found.setdefault(row["fallback"], []).append(view)
    return [f"{listed(views)}: {shown(reason)}." for reason, views in found.items()]


def _treated(tables: Tables, view: str) -> int:
    """Errors that a method looked at; those that were not to be explained in full are none of them."""
    if not tables.has(view):
        return 0
    kept = f" where status is null or status <> '{SKIPPED}'" if tables.has(view, "status") else ""
    return tables.value(f"select count(distinct item_id) from {view}{kept}")


def _identities(meta: Mapping[str, Any]) -> list[tuple[str, str]]:
    model, data, given = meta.get("model") or {}, meta.get("data") or {}, meta.get("given") or {}
    rows = {
        "model": model.get("source"),
        "model given as": given.get("model"),
        "model identity": model.get("identity"),
        "access": model.get("access"),
        "input": model.get("input"),
        "classes": f"{len(model.get('classes') or ()):,}",
        "data": data.get("source"),
        "data given as": given.get("data"),
        "items": data.get("items"),
        "depth": meta.get("depth"),
        "explained in full": f"at most {meta['limit']:,} errors" if isinstance(meta.get("limit"), int) else None,
        "seed": meta.get("seed"),
        "created": meta.get("created"),
        "whywrong": meta.get("whywrong") or meta.get("version"),
        "versions": meta.get("versions"),
        "machine": meta.get("machine"),
    }
    return [(name, shown(_setting(value))) for name, value in rows.items() if value not in (None, "", {}, [])]


def _setting(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_setting(item)}" for key, item in value.items() if item is not None)
    if isinstance(value, list | tuple):
        return (
            " × ".join(map(str, value))
            if all(isinstance(item, int) for item in value)
            else ", ".join(map(_setting, value))
        )
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value)


def _flat(config: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for key, value in config.items():
        rows += _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [(f"{prefix}{key}", value)]
    return rows
