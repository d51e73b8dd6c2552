"""Rules for natural errors within the analysis of a run."""

from __future__ import annotations

import numpy as np
import pytest
from tests.verdicts import quadrants

from whywrong.api.verdicts import give_verdicts
from whywrong.verdicts.measured import Measured
from whywrong.verdicts.natural import step
from whywrong.verdicts.natural.maps import MAP_SIGNS
from whywrong.verdicts.natural.rules import NaturalFinding, possible_findings

FINDING = NaturalFinding(
    cause="confusion",
    kind="alike classes",
    stated=True,
    sentence="Probably confusion: {label} and {predicted} are alike here.",
    numbers={},
    for_text=("{label} is close to {predicted}.",),
    against_text=("Little.",),
)


@pytest.fixture(scope="module")
def seen() -> list[Measured]:
    return []


@pytest.fixture(scope="module")
def report(tmp_path_factory, seen):
    """A run of four classes, with a rule that speaks of every error and the limit on classes lowered."""

    def rules(errors: Measured, reference: Measured) -> list[NaturalFinding]:
        seen.extend((errors, reference))
        return [FINDING] * len(errors)

    source = quadrants.source(tmp_path_factory.mktemp("data"), 180)
    run = quadrants.diagnosed(tmp_path_factory.mktemp("run") / "run", source)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step, "FEWEST_CLASSES", 4)
        patch.setattr(step, "natural_findings", rules)
        return give_verdicts(run, quadrants.classifier(), source)


def test_a_finding_becomes_the_verdict_where_no_test_supports_a_cause(report):
    rows = report.tables["verdicts"].to_pylist()
    told = [row for row in rows if row["kind"] == "alike classes"]
    assert len(told) >= 3
    for row in told:
        label, predicted = quadrants.NAMES[row["label"]], quadrants.NAMES[row["predicted"]]
        assert row["why_text"] == f"Probably confusion: {label} and {predicted} are alike here."
        assert row["for_text"][0] == f"{label} is close to {predicted}."
        assert row["against_text"] == ["Little."]
        assert (row["cause"], row["tested"], row["test"]) == ("confusion", "supported", "alike classes")
    assert report.record["stated"]["confusion"] == len(told)


def test_a_supported_cause_is_kept(report):
    supported = {row["item_id"] for row in report.tables["interventions"].to_pylist() if row["outcome"] == "supported"}
    for row in report.tables["verdicts"].to_pylist():
        if row["kind"] != "alike classes" and row["why_text"].startswith("Probably"):
            assert row["item_id"] in supported or row["cause"] in ("label", "shift")


def test_the_rules_get_the_small_changes_and_their_own_signs(report, seen):
    errors, reference = seen
    assert errors.sign_names[-len(MAP_SIGNS) :] == MAP_SIGNS
    needed = possible_findings(errors, reference)
    assert np.isfinite(errors.sign("survival_label")[needed]).all()
    assert np.isnan(errors.sign("whole_gain")).all()  # the model sees the whole images
    assert len(reference) >= 50


def test_the_passes_of_the_rules_are_counted(report):
    costs, rows = report.record["costs"], report.tables["verdicts"].to_pylist()
    assert costs["forwards"] + costs["backwards"] == sum(costs["by_step"].values())
    assert costs["forwards"] == sum(row["forwards"] for row in rows)
