"""A combiner, and a run with its verdicts."""

from __future__ import annotations

import pytest
from tests.verdicts import quadrants
from tests.verdicts.synthetic import SIGNS, planted

from whywrong.api.verdicts import VerdictReport, give_verdicts
from whywrong.verdicts.combiner.fit import fit_combiner
from whywrong.verdicts.combiner.fit_scorer import FitConfig
from whywrong.verdicts.combiner.leave_out import leave_one_net_out
from whywrong.verdicts.combiner.model import Combiner
from whywrong.verdicts.combiner.rows import rows_of


@pytest.fixture(scope="session")
def small_combiner() -> Combiner:
    """Fitted on random signs; it knows marks by their recurrence, and labels by what other models predict."""
    config = FitConfig(trees=10, rounds=5, plants=100)
    tables = [rows_of(planted(160, seed, net=net), SIGNS) for seed, net in enumerate(("one", "two", "three"))]
    return fit_combiner(tables, leave_one_net_out(tables, config), config, {"nets": ["one", "two", "three"]})


@pytest.fixture(scope="session")
def source(tmp_path_factory):
    return quadrants.source(tmp_path_factory.mktemp("data"), 180)


@pytest.fixture(scope="session")
def run(tmp_path_factory, source):
    return quadrants.diagnosed(tmp_path_factory.mktemp("run") / "run", source)


@pytest.fixture(scope="session")
def report(run, source, small_combiner) -> VerdictReport:
    """Verdicts of the run with a helper that does not see the mark."""
    helper = quadrants.classifier(dot=0.0, identity="other")
    return give_verdicts(run, quadrants.classifier(), source, helpers=[helper], combiner=small_combiner)
