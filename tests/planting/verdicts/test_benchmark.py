"""The benchmark of verdicts: blind, complete, and the same figures every time."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from whywrong.core.errors import DataError
from whywrong.planting.verdicts.adapting import adapt_to, aligned, folds, kept_plants
from whywrong.planting.verdicts.benchmark.baselines import group_scores, rule_scores
from whywrong.planting.verdicts.benchmark.page import page
from whywrong.planting.verdicts.benchmark.running import BenchmarkModels, BenchmarkNames, run_benchmark
from whywrong.planting.verdicts.benchmark.scores import credited, score
from whywrong.planting.verdicts.plan import VerdictPlan
from whywrong.planting.verdicts.planted_file import load_planted, save_planted
from whywrong.planting.verdicts.tables import TableNames, make_table
from whywrong.verdicts.causes import CLASSES
from whywrong.verdicts.combiner.fit import fit_combiner
from whywrong.verdicts.combiner.fit_scorer import FitConfig, fit_scorer
from whywrong.verdicts.combiner.leave_out import Held
from whywrong.verdicts.combiner.rows import rows_of
from whywrong.verdicts.combiner.situation import SITUATIONS, completed
from whywrong.verdicts.combiner.training_table import load_table, save_table

PLAN = VerdictPlan(causes=("label", "corruption", "occluded"), per_cause=8, reference=60)
NAMES = TableNames(net="linear", family="linear", data="patterns", licence="drawn here", helper="")


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    return tmp_path_factory.mktemp("parts")


@pytest.fixture(scope="module")
def table(net, data, parts):
    said = []
    found = make_table(net, data, PLAN, NAMES, parts, say=said.append)
    assert any("measured" in text for text in said)
    return found


@pytest.fixture(scope="module")
def rows(table):
    return rows_of(table)


@pytest.fixture(scope="module")
def combiner(rows):
    scorer = fit_scorer([rows], FitConfig(trees=10, rounds=5))
    evidence = rows.evidence
    scores = np.stack(
        [scorer.predict(completed(evidence.x, evidence.median, evidence.columns, one)) for one in SITUATIONS]
    )
    text = np.full(len(rows), "linear")
    held = Held(
        scores=scores, truth=rows.truth, kind=rows.kind, role=rows.role, second=rows.second, net=text, data=text
    )
    return fit_combiner([rows], held, FitConfig(trees=10, rounds=5, plants=60), {"nets": []})


@pytest.fixture(scope="module")
def bench(net, data, combiner, tmp_path_factory):
    out = tmp_path_factory.mktemp("bench")
    models = BenchmarkModels(classifier=net, combiner=combiner)
    names = BenchmarkNames(model="linear", data="patterns")
    return out, run_benchmark(models, data, out, replace(PLAN, seed=5), names)


def test_a_table_holds_each_error_with_its_cause_and_loads_without_pickle(table, tmp_path):
    save_table(table, tmp_path / "table.npz")
    again = load_table(tmp_path / "table.npz")
    assert again.truth == table.truth
    assert np.array_equal(again.errors.signs, table.errors.signs, equal_nan=True)
    assert (table.errors.label != table.errors.predicted).all()
    assert (table.reference.label != table.reference.predicted).all()
    assert set(table.half.tolist()) == {0, 1}
    assert len(table.reference) == 60


def test_measuring_resumes_from_its_parts_and_refuses_those_of_other_settings(net, data, table, parts, monkeypatch):
    monkeypatch.setattr("whywrong.planting.verdicts.measuring.measure", None)  # nothing is measured again
    again = make_table(net, data, PLAN, NAMES, parts)
    assert np.array_equal(again.errors.signs, table.errors.signs, equal_nan=True)
    with pytest.raises(DataError, match="made with"):
        make_table(net, data, replace(PLAN, seed=9), NAMES, parts)


def test_planted_errors_on_disk_are_read_back_and_damage_is_refused(bench, tmp_path, monkeypatch):
    errors = load_planted(bench[0] / "planted.npz", json.loads((bench[0] / "made_with.json").read_text())["made_with"])
    save_planted(errors, tmp_path / "a.npz", "here")
    again = load_planted(tmp_path / "a.npz", "here")
    assert torch.equal(again.x, errors.x)
    assert again.sources == errors.sources
    whole = (tmp_path / "a.npz").read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:900] + bytes([whole[900] ^ 1]) + whole[901:]):
        (tmp_path / "b.npz").write_bytes(damaged)
        with pytest.raises(DataError):
            load_planted(tmp_path / "b.npz", "here")
    with monkeypatch.context() as patched:
        patched.setattr("whywrong.planting.verdicts.planted_file._digest", lambda arrays: "as it was")
        save_planted(replace(errors, label=errors.label.flip(0)), tmp_path / "e.npz", "here")
    with pytest.raises(DataError, match="changed since it was written"):
        load_planted(tmp_path / "e.npz", "here")
    save_planted(replace(errors, truth=("gremlins",) * len(errors)), tmp_path / "c.npz", "here")
    with pytest.raises(DataError, match="unknown cause or role gremlins"):
        load_planted(tmp_path / "c.npz", "here")
    save_planted(replace(errors, severity=errors.severity[1:]), tmp_path / "d.npz", "here")
    with pytest.raises(DataError, match="severity has"):
        load_planted(tmp_path / "d.npz", "here")


def test_the_diagnosis_sees_images_and_labels_only(bench):
    out, record = bench
    with np.load(out / "images.npz", allow_pickle=False) as file:
        assert sorted(file.files) == ["images", "labels"]
        assert len(file["labels"]) == record["figures"]["figures"]["n"] + record["reference"]
    run = json.loads((out / "run" / "run.json").read_text())
    assert "planted.npz" not in json.dumps(run)


def test_the_record_counts_every_error_once_and_the_page_shows_it(bench):
    out, record = bench
    found = record["figures"]
    n = found["figures"]["n"]
    assert sum(map(sum, found["confusion"])) == n == sum(found["planted"].values())
    assert sum(total for _, total in found["recall"].values()) == n
    assert sum(sum(counts.values()) for counts in found["tested"]["by_truth"].values()) == n
    assert 0 <= found["intervals"]["f1_all"][0] <= found["figures"]["f1_all"] <= found["intervals"]["f1_all"][1] <= 1
    assert record["costs"]["for_each_error"] > 1
    assert json.loads((out / "benchmark.json").read_text()) == record
    text = (out / "benchmark.md").read_text()
    assert text == page(record)
    for words in ("macro-F1 with ordinary errors", "| corruption/", "bystander/", "passes an error", "## Two causes"):
        assert words in text


def test_verdicts_that_state_the_truth_score_one_and_random_ones_do_not(bench, net, data, combiner):
    from whywrong.planting.verdicts.benchmark.blind import Blind

    out, _ = bench
    errors = load_planted(out / "planted.npz", json.loads((out / "made_with.json").read_text())["made_with"])
    n = len(errors)
    truth = np.array([CLASSES.index(cause) for cause in errors.truth])
    p = np.eye(len(CLASSES))[truth]

    def blind(p):
        cause = tuple("undetermined" if CLASSES[k] == "ordinary" else CLASSES[k] for k in p.argmax(1))
        draw = np.random.default_rng(0)
        return Blind(
            row=np.arange(n), p=p, sets=p > 0.5, cause=cause, tested=("supported",) * n, stage=np.ones(n, np.int64),
            signs=draw.normal(size=(n, 4)), sign_names=("energy", "noise_level", "b", "c"),
            sign_groups=("scores", "pixels", "x", "x"), record={}, seconds=1.0, pass_seconds=0.1,
        )  # fmt: skip

    right = score(errors, blind(p))
    assert right["figures"]["f1_all"] == right["figures"]["f1_causes"] == 1
    assert right["figures"]["ordinary_called"] == right["figures"]["bystanders_corruption"] == 0
    assert right["tested"]["supported_right"] == right["tested"]["supported"]
    shuffled = score(errors, blind(p[np.random.default_rng(1).permutation(n)]))
    assert shuffled["figures"]["f1_all"] < 0.5
    noise = group_scores(errors, blind(p))
    assert max(pair[1] for pair in noise.values()) < 0.5
    assert all(0.2 < one["auc"] < 0.8 for one in rule_scores(errors, blind(p)))


def test_an_error_with_two_causes_is_right_with_either(bench):
    out, _ = bench
    errors = load_planted(out / "planted.npz", json.loads((out / "made_with.json").read_text())["made_with"])
    doubles = errors.at([row for row, second in enumerate(errors.second) if second])
    p = np.eye(len(CLASSES))[[CLASSES.index(cause) for cause in doubles.second]]
    assert [CLASSES[k] for k in credited(doubles, p)] == list(doubles.second)
    assert [CLASSES[k] for k in credited(doubles, np.ones_like(p))] == list(doubles.truth)


def test_the_same_benchmark_gives_the_same_figures_and_resumes(bench, net, data, combiner):
    out, record = bench
    models = BenchmarkModels(classifier=net, combiner=combiner)
    names = BenchmarkNames(model="linear", data="patterns")
    again = run_benchmark(models, data, out, replace(PLAN, seed=5), names)
    drop = ("costs",)
    assert {k: v for k, v in again.items() if k not in drop} == {k: v for k, v in record.items() if k not in drop}
    with pytest.raises(DataError, match="made with"):
        run_benchmark(models, data, out, replace(PLAN, seed=6), names)


def test_adapting_knows_the_own_errors_better_and_keeps_photographs_apart(rows, combiner, table):
    own = replace(rows, evidence=aligned(rows.evidence, combiner), net="own", data="own")
    scorer = combiner.scorer  # with the classes mixed up
    trees = {n: replace(t, values=np.roll(t.values, 1, 1)) for n in ("forest", "boosted") for t in [getattr(scorer, n)]}
    shuffled = replace(combiner, scorer=replace(scorer, coef=np.roll(scorer.coef, 1, 0), **trees))
    found = adapt_to(shuffled, own, table.errors.sources, {"label": 6}, FitConfig(copies=1, trees=10, rounds=5))
    assert found.after.f1_all > found.before.f1_all
    assert found.after.n == len(own)
    assert found.combiner.facts["adapted"] == found.record()
    assert found.record()["planted"] == {"label": 6}
    again = adapt_to(shuffled, own, table.errors.sources, {"label": 6}, FitConfig(copies=1, trees=10, rounds=5))
    assert found.record() == again.record()
    fold = folds(table.errors.sources)
    assert all(len(set(fold[[s == one for s in table.errors.sources]])) == 1 for one in set(table.errors.sources))


def test_kept_plants_are_the_evidence_that_was_fitted(rows, combiner):
    kept = kept_plants(combiner, rows)
    assert len(kept) == len(combiner.plants.z)
    near = np.abs(kept.evidence.x[:, None] - np.nan_to_num(rows.evidence.x, nan=0)[None]).mean(2).min(1)
    assert np.median(near) < 0.05


@pytest.mark.slow
def test_on_drawn_pictures_all_causes_are_planted_diagnosed_and_compared(tmp_path, combiner):
    from whywrong import api
    from whywrong.verdicts.combiner.stored import save_combiner

    save_combiner(combiner, tmp_path / "combiner.npz")
    record = api.benchmark_verdicts(
        api.load_classifier("planted:cnn"), "planted:test", tmp_path / "bench", combiner=tmp_path / "combiner.npz",
        helpers=[api.load_classifier("planted:vit")],
        per_cause=4, reference=60, adapt=True,
    )  # fmt: skip
    causes = {name.partition("/")[0] for name in record["figures"]["recall"]}
    assert set(CLASSES) - {"ordinary"} <= causes
    assert {"bystander", "double", "natural"} <= causes
    assert record["adapted"]["figures"]["n"] == record["figures"]["figures"]["n"]
    assert record["helper"] == "planted:vit"


@pytest.mark.slow
def test_verdicts_adapted_to_a_model_come_with_their_figures(net, data, combiner, tmp_path, monkeypatch):
    from whywrong import api

    monkeypatch.setattr("whywrong.planting.verdicts.adapting.SHIPPED", tmp_path)  # there is one
    monkeypatch.setattr("whywrong.planting.verdicts.adapting.shipped", lambda: combiner)
    run = api.diagnose(net, data.source, tmp_path / "run", methods=["cam"])
    report = api.verdict(run, net, data.source, adapt=True)
    adapted = report.record["combiner"]["adapted"]
    assert adapted["planted"]["label"] == 20
    assert adapted["after"]["n"] == adapted["before"]["n"] >= 100
    assert report.tables["verdicts"].num_rows == len(run.errors())
