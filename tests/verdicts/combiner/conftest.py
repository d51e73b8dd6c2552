"""A combiner fitted on errors whose signs tell the causes apart."""

from __future__ import annotations

import pytest
from tests.verdicts.synthetic import SIGNS, planted

from whywrong.verdicts.combiner.fit import fit_combiner
from whywrong.verdicts.combiner.fit_scorer import FitConfig
from whywrong.verdicts.combiner.leave_out import Held, leave_one_net_out
from whywrong.verdicts.combiner.model import Combiner
from whywrong.verdicts.combiner.rows import Rows, rows_of

CONFIG = FitConfig(trees=20, rounds=20, plants=200)


@pytest.fixture(scope="session")
def tables() -> list[Rows]:
    return [rows_of(planted(160, seed, net=net), SIGNS) for seed, net in enumerate(("one", "two", "three"))]


@pytest.fixture(scope="session")
def held(tables: list[Rows]) -> Held:
    return leave_one_net_out(tables, CONFIG)


@pytest.fixture(scope="session")
def combiner(tables: list[Rows], held: Held) -> Combiner:
    return fit_combiner(tables, held, CONFIG, {"nets": ["one", "two", "three"], "licence": "none"})
