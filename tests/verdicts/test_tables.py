"""The tables of the verdict: columns, types and views."""

from __future__ import annotations

import pytest
from tests.golden import make
from tests.runs import kit
from tests.verdicts.fake_tables import fake_result, write_fake

from whywrong.core.registry import find_analysis
from whywrong.runs.folder import RunFolder
from whywrong.verdicts.config import DEPTHS, VerdictConfig
from whywrong.verdicts.tables import TABLES, VERDICTS


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> RunFolder:
    folder = tmp_path_factory.mktemp("verdict")
    made = kit.diagnosed(folder / "run", kit.array_source(folder, 40))
    write_fake(made)
    return RunFolder(folder / "run")


def test_the_registry_names_exactly_these_tables():
    assert find_analysis("verdict").tables == tuple(table.name for table in TABLES)


def test_every_column_says_what_it_holds():
    assert all(len(doc) > 8 and doc.endswith(".") for table in TABLES for _, _, doc in table.columns)


def test_a_row_with_a_missing_or_an_unknown_column_is_refused():
    with pytest.raises(ValueError, match="verdicts: columns"):
        VERDICTS.table([{"weather": 1}])


def test_each_error_is_one_row_of_the_view_and_keeps_its_list_of_causes(run):
    rows = run.query("select * from verdicts order by item_id").to_pylist()
    assert [row["item_id"] for row in rows] == sorted(row["item_id"] for row in run.errors().to_pylist())
    assert rows[0]["causes"][0] == {"cause": "corruption", "probability": 0.91}


def test_every_table_has_its_views(run):
    views = make.described(run)
    names = [f"{name} " for name, _, _ in VERDICTS.columns]
    assert [text.split(" ")[0] + " " for text in views["verdicts"]] == names
    assert views["signs"] == views["verdict_signs"]
    assert views["interventions"] == views["verdict_interventions"]
    assert {"groups", "advice"} <= set(views)


def test_a_method_keeps_its_name_beside_the_table_of_the_verdict(run, monkeypatch):
    from whywrong.explain import analyses

    analysis = find_analysis("verdict")
    method = next(iter(run.meta["methods"]))
    moved = dict(analysis.views) | {method: "signs"}
    monkeypatch.setattr(analyses, "ANALYSES", (type(analysis)(**{**fields(analysis), "views": moved}),))
    shown = make.described(RunFolder(run.path))
    assert shown[method] != shown["verdict_signs"]


def fields(analysis):
    return {name: getattr(analysis, name) for name in analysis.__slots__}


def test_numbers_that_are_not_finite_are_stored_as_null(run):
    rows = [dict(fake_result(run).rows["verdicts"][0]) | {"effect": float("nan")}]
    assert VERDICTS.table(rows)["effect"].to_pylist() == [None]


def test_settings_out_of_range_are_refused():
    assert VerdictConfig(depth=DEPTHS[0]).depth == "free"
    for wrong in ({"depth": "deep"}, {"reference_images": 10}, {"sure": 0.0}, {"tested_causes": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            VerdictConfig(**wrong)
