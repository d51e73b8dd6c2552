"""A whole run on a classifier whose answers are known."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.runs import kit

from whywrong.core.access import Access
from whywrong.core.classes import ClassList
from whywrong.core.errors import AccessError, InputError, ModelError, NonFiniteError, RunFolderError
from whywrong.data.sources import open_source
from whywrong.models.classifier import Classifier
from whywrong.runs.folder import RunFolder
from whywrong.runs.store.run_file import write_run_file


def test_numbers_of_a_prediction_are_those_of_a_softmax(finished):
    pixels, labels = kit.images(40)
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        logits = kit.Reader()(x).double().numpy()
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    for row in finished().query("select * from predictions").to_pylist():
        at = int(row["key"][7:-1])
        order = sorted(range(kit.K), key=lambda c: -logits[at, c])
        y = labels[at]
        assert row["predicted"] == order[0]
        assert row["confidence"] == pytest.approx(shares[at, order[0]], rel=1e-5)
        assert row["true_confidence"] == pytest.approx(shares[at, y], rel=1e-5)
        assert logits[at, order[row["rank_of_true"] - 1]] == pytest.approx(logits[at, y])
        assert row["margin"] == pytest.approx(np.delete(logits[at], y).max() - logits[at, y], abs=1e-4)
        assert np.allclose(logits[at, row["top5"]], sorted(logits[at], reverse=True))
        assert (row["width"], row["height"]) == (kit.SIDE, kit.SIDE)


def test_the_method_sees_each_error_with_its_own_key_and_detail_is_limited_and_spread(finished):
    run = finished()
    stub = run.query("select * from stub").to_pylist()
    assert {row["item_id"] for row in stub} == set(run.errors()["item_id"].to_pylist())
    assert len({row["draw"] for row in stub}) == len(stub)
    detailed = [row for row in stub if row["detailed"]]
    assert len(detailed) == 10
    pairs = {(row["label"], row["predicted"]) for row in stub}
    assert len({(row["label"], row["predicted"]) for row in detailed}) == min(len(pairs), 10)
    pixels, _ = kit.images(40)
    for row in stub:
        at = int(row["key"][7:-1])
        assert row["level"] == pytest.approx(pixels[at].mean() / 255, rel=1e-5)
        maps = run.maps("stub", row["item_id"])
        assert list(maps) == (["picture"] if row["detailed"] else [])
        if maps:
            assert np.array_equal(np.rint(maps["picture"] * 255), pixels[at].transpose(2, 0, 1))


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_results_do_not_depend_on_the_batch_size(tmp_path, finished, batch_size):
    run = kit.diagnosed(tmp_path / "run", open_source(_data_of(finished())), batch_size=batch_size)
    _same(kit.tables(run), kit.tables(finished()))


def test_results_do_not_depend_on_the_order_of_the_listing(tmp_path):
    pixels, labels = kit.images(30)
    for name, order in (("a", np.arange(30)), ("b", np.random.default_rng(1).permutation(30))):
        folder = tmp_path / name
        (folder / "im").mkdir(parents=True)
        lines = ["path,label"]
        for at in order:
            kit.write_png(folder / "im" / f"{at}.png", pixels[at])
            lines.append(f"im/{at}.png,{kit.NAMES[labels[at]]}")
        (folder / "manifest.csv").write_text("\n".join(lines))
    runs = [kit.diagnosed(tmp_path / f"run {n}", open_source(tmp_path / n)) for n in "ab"]
    first, second = (kit.tables(run) for run in runs)
    for table in (first, second):
        for row in table["items"]:
            row.pop("mtime_ns")
    _same(first, second)


def test_a_second_call_computes_nothing(tmp_path):
    source = kit.array_source(tmp_path, 20)
    kit.diagnosed(tmp_path / "run", source)
    before = _stamps(tmp_path / "run")
    classifier = kit.reader()
    kit.diagnosed(tmp_path / "run", source, classifier=classifier)
    assert classifier.forwards == 0
    assert {p: s for p, s in _stamps(tmp_path / "run").items() if p != "run.json"} == {
        p: s for p, s in before.items() if p != "run.json"
    }


def test_a_higher_limit_explains_only_what_is_new(tmp_path):
    source = kit.array_source(tmp_path, 40)
    kit.diagnosed(tmp_path / "run", source, limit=4)
    classifier = kit.reader()
    more = kit.diagnosed(tmp_path / "run", source, limit=9, classifier=classifier)
    assert classifier.forwards == 5 * 2
    whole = kit.diagnosed(tmp_path / "whole", source, limit=9)
    _same(kit.tables(more), kit.tables(whole))
    classifier = kit.reader()
    less = kit.diagnosed(tmp_path / "run", source, limit=2, classifier=classifier)
    assert classifier.forwards == 0
    assert less.meta["limit"] == 9


def test_a_method_added_later_runs_alone(tmp_path, monkeypatch):
    source = kit.array_source(tmp_path, 40)
    first = kit.diagnosed(tmp_path / "run", source)
    errors = len(first.errors())
    second = kit.method("second", depth="standard")
    monkeypatch.setattr("whywrong.explain.methods.METHODS", (kit.method(), second))
    classifier = kit.reader()
    run = kit.diagnosed(tmp_path / "run", source, depth="standard", classifier=classifier)
    assert classifier.forwards == 2 * errors
    assert len(run.query("select * from second")) == errors
    assert kit.tables(run)["stub"] == kit.tables(first)["stub"]
    assert run.meta["depth"] == "standard"


def test_results_of_an_older_version_of_a_method_are_redone(tmp_path, monkeypatch):
    source = kit.array_source(tmp_path, 20)
    errors = len(kit.diagnosed(tmp_path / "run", source).errors())
    monkeypatch.setattr("whywrong.explain.methods.METHODS", (kit.method(result_version=2),))
    classifier = kit.reader()
    kit.diagnosed(tmp_path / "run", source, classifier=classifier)
    assert classifier.forwards == 2 * errors


@dataclass(frozen=True, slots=True, kw_only=True)
class OldStubConfig:
    """Settings of the stub in an earlier version, with one that is gone."""

    gain: float = 1.0
    draws: int = 20


def test_a_setting_that_went_with_an_older_version_does_not_stop_the_run(tmp_path, monkeypatch):
    source, newer = kit.array_source(tmp_path, 12), kit.method(result_version=2)
    older = replace(kit.method(), config=f"{__name__}:OldStubConfig")
    monkeypatch.setattr("whywrong.explain.methods.METHODS", (older,))
    run = kit.diagnosed(tmp_path / "run", source)
    stored = run.query("select item_id, level from stub order by 1").to_pylist()
    monkeypatch.setattr("whywrong.explain.methods.METHODS", (newer,))
    assert RunFolder(run.path).query("select item_id, level from stub order by 1").to_pylist() == stored
    with pytest.raises(RunFolderError, match=r"stub.gain was 1.0, is now 2.0"):
        kit.diagnosed(run.path, source, options={"stub": {"gain": 2.0}})
    again = kit.diagnosed(run.path, source)
    assert again.meta["methods"]["stub"]["config"] == {"gain": 1.0}
    assert again.query("select item_id, level from stub order by 1").to_pylist() == stored


def test_another_model_seed_source_or_setting_is_refused_with_the_difference(tmp_path):
    source = kit.array_source(tmp_path, 12)
    kit.diagnosed(tmp_path / "run", source)
    before = _stamps(tmp_path / "run")
    other = Classifier(kit.Reader(), classes=ClassList(kit.NAMES), preprocess=kit.SPEC, identity="another")
    cases = [
        ({"classifier": other}, r'model.identity was "reader", is now "another"'),
        ({"seed": 3}, "seed was 0, is now 3"),
        ({"options": {"stub": {"gain": 2.0}}}, r"stub.gain was 1.0, is now 2.0"),
    ]
    for settings, said in cases:
        with pytest.raises(RunFolderError, match=said) as caught:
            kit.diagnosed(tmp_path / "run", source, **settings)
        assert caught.value.exit_code == 2
    with pytest.raises(RunFolderError, match=r"data\.path was"):
        kit.diagnosed(tmp_path / "run", kit.array_source(tmp_path / "elsewhere", 12))
    assert _stamps(tmp_path / "run") == before


def test_all_right_is_a_run_without_errors(tmp_path):
    pixels, labels = kit.images(20)
    pixels[:, 0, 0, :] = labels[:, None]
    run = kit.diagnosed(tmp_path / "run", kit.saved(tmp_path, pixels, labels))
    assert run.meta["complete"]
    assert len(run.errors()) == len(run.query("select * from stub")) == 0


def test_all_wrong_is_said(tmp_path):
    pixels, labels = kit.images(40)
    pixels[:, 0, 0, :] = ((labels + 1) % kit.K)[:, None]
    run = kit.diagnosed(tmp_path / "run", kit.saved(tmp_path, pixels, labels))
    assert len(run.errors()) == 40
    texts = " ".join(finding["text"] for finding in run.meta["health"] if finding.get("of_all"))
    assert "label" in texts


def test_unlabelled_images_are_predicted_and_not_judged(tmp_path):
    pixels, _ = kit.images(9)
    for at, image in enumerate(pixels):
        kit.write_png(tmp_path / "data" / f"{at}.png", image)
    run = kit.diagnosed(tmp_path / "run", open_source(tmp_path / "data"))
    rows = run.query("select status, predicted, label, margin, true_confidence from predictions").to_pylist()
    assert [row["predicted"] for row in rows if row["status"] == "ok"].count(None) == 0
    assert {(row["label"], row["margin"], row["true_confidence"]) for row in rows} == {(None, None, None)}
    assert len(run.errors()) == 0


def test_an_image_on_which_the_model_raises_costs_no_other_image(tmp_path):
    source = kit.array_source(tmp_path, 40)
    run = kit.diagnosed(tmp_path / "run", source, classifier=kit.reader(poison=(5, 21)))
    failed = run.query("select * from failed_items order by key").to_pylist()
    assert [row["key"] for row in failed] == ["images[21]", "images[5]"]
    assert all(row["stage"] == "predict" and "ValueError: poison" in row["reason"] for row in failed)
    plain = kit.tables(kit.diagnosed(tmp_path / "plain", source))["predictions"]
    mine = kit.tables(run)["predictions"]
    ids = {row["item_id"] for row in failed}
    assert [r for r in mine if r["item_id"] not in ids] == [r for r in plain if r["item_id"] not in ids]


def test_a_model_that_raises_on_everything_stops_the_run(tmp_path):
    class Broken(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise ValueError("weights are missing")

    broken = Classifier(Broken(), classes=ClassList(kit.NAMES), preprocess=kit.SPEC)
    with pytest.raises(ModelError, match="weights are missing"):
        kit.diagnosed(tmp_path / "run", kit.array_source(tmp_path, 20), classifier=broken)


def test_images_without_finite_scores_are_items_up_to_5_percent(tmp_path):
    source = kit.array_source(tmp_path, 60)
    few = kit.diagnosed(tmp_path / "few", source, classifier=kit.reader(poison=(3, 30, 50), deed="nan"))
    assert [row["reason"] for row in few.query("select * from failed_items").to_pylist()] == [
        "the model returned NaN or infinite scores"
    ] * 3
    with pytest.raises((NonFiniteError, ModelError), match="NaN or infinite"):
        kit.diagnosed(tmp_path / "many", source, classifier=kit.reader(poison=tuple(range(0, 60, 10)), deed="nan"))


def test_a_model_that_takes_one_image_at_a_time_works(tmp_path, finished):
    single = Classifier(
        kit.Reader(largest=1), classes=ClassList(kit.NAMES), preprocess=kit.SPEC, identity="reader", recipe=kit.Recipe()
    )
    run = kit.diagnosed(tmp_path / "run", open_source(_data_of(finished())), classifier=single)
    _same(kit.tables(run), kit.tables(finished()))


def test_a_classifier_that_tells_labels_only_gets_predictions_without_scores(tmp_path, monkeypatch):
    blind = Classifier(
        lambda x: (x[:, 0, 0, 0] * 255).round().long(),
        classes=ClassList(kit.NAMES),
        preprocess=kit.SPEC,
        output="labels",
    )
    source = kit.array_source(tmp_path, 20)
    with pytest.raises(AccessError, match="stub needs access to SCORES, this classifier grants LABELS"):
        kit.diagnosed(tmp_path / "run", source, classifier=blind, methods=["stub"])
    run = kit.diagnosed(tmp_path / "run", source, classifier=blind)
    rows = run.query("select predicted, confidence, top5 from predictions order by length(key), key").to_pylist()
    pixels, labels = kit.images(20)
    assert [row["predicted"] for row in rows] == pixels[:, 0, 0, 0].tolist()
    assert {(row["confidence"], row["top5"]) for row in rows} == {(None, None)}
    assert "SCORES" in run.meta["refused"]["stub"]
    assert len(run.errors()) == int((pixels[:, 0, 0, 0] != labels).sum())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"depth": "quik"}, "depth must be one of quick, standard, deep"),
        ({"methods": ["stubb"]}, 'no method "stubb"'),
        ({"options": {"stub": {"gian": 1}}}, 'unknown setting "stub.gian"; nearest: "stub.gain"'),
        ({"options": {"sub": {"gain": 1}}}, 'nearest: "stub"'),
        ({"options": {"stub": {"gain": "much"}}}, "stub.gain|gain"),
        (
            {"methods": [], "options": {"stub": {"gain": 2}}},
            "it belongs to --depth quick, or name it with --methods stub",
        ),
        ({"workers": 0}, "workers must be at least 1"),
        ({"limit": -1}, "limit at least 0"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
    ],
)
def test_wrong_settings_stop_before_anything_is_written(tmp_path, settings, said):
    with pytest.raises(InputError, match=said):
        kit.diagnosed(tmp_path / "run", kit.array_source(tmp_path, 5), **settings)
    assert not (tmp_path / "run").exists()


def test_models_that_settings_name_are_refused_before_the_first_batch(tmp_path, monkeypatch):
    asked = []

    def refuse(self, classifier, shape):
        asked.append((classifier, shape))
        raise InputError("helper cannot serve")

    monkeypatch.setattr(kit.StubConfig, "check_models", refuse, raising=False)
    classifier = kit.reader()
    with pytest.raises(InputError, match="helper cannot serve"):
        kit.diagnosed(tmp_path / "run", kit.array_source(tmp_path, 5), classifier=classifier)
    assert [one for one, _ in asked] == [classifier]
    assert classifier.forwards == 0
    assert not (tmp_path / "run" / "run.json").exists()


def test_a_file_in_the_way_or_a_folder_without_permission_stops_before_work(tmp_path, monkeypatch):
    source = kit.array_source(tmp_path, 5)
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(RunFolderError, match="a file is in the way") as caught:
            kit.diagnosed(place, source)
        assert caught.value.exit_code == 2
    (tmp_path / "closed").mkdir()

    def refuse(path: object, flags: int, *rest: int, **named: int) -> int:
        if flags & os.O_CREAT:
            raise PermissionError(13, "Permission denied")
        return opened(path, flags, *rest, **named)

    opened = os.open
    monkeypatch.setattr(os, "open", refuse)  # root may write anywhere, so the refusal is injected
    classifier = kit.reader()
    with pytest.raises(RunFolderError, match=r"cannot be written \(Permission denied\)"):
        kit.diagnosed(tmp_path / "closed", source, classifier=classifier)
    assert classifier.forwards == 0
    assert list((tmp_path / "closed").iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can drop its privileges")
def test_a_read_only_folder_stops_before_work_for_an_ordinary_user(tmp_path):
    source = kit.array_source(tmp_path, 5)
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    os.seteuid(65534)
    try:
        with pytest.raises(RunFolderError, match="cannot be written"):
            kit.diagnosed(closed, source)
    finally:
        os.seteuid(0)


def test_a_classifier_in_memory_runs_in_this_process_and_says_so(tmp_path, finished):
    alone = Classifier(kit.Reader(), classes=ClassList(kit.NAMES), preprocess=kit.SPEC, identity="reader")
    with pytest.warns(UserWarning, match="exists only in memory"):
        run = kit.diagnosed(tmp_path / "run", open_source(_data_of(finished())), classifier=alone, workers=2)
    assert any("only in memory" in note for note in run.meta["notes"])
    _same(kit.tables(run), kit.tables(finished()))


def test_a_method_is_refused_by_name_where_the_model_cannot_serve_it(tmp_path, monkeypatch):
    greedy = kit.method("greedy")
    object.__setattr__(greedy, "access", Access.INTERNALS)
    monkeypatch.setattr("whywrong.explain.methods.METHODS", (kit.method(), greedy))
    scores = Classifier(
        lambda x: kit.Reader()(x).detach(), classes=ClassList(kit.NAMES), preprocess=kit.SPEC, access=Access.SCORES
    )
    run = kit.diagnosed(tmp_path / "run", kit.array_source(tmp_path, 20), classifier=scores)
    assert list(run.meta["methods"]) == ["stub"]
    assert "greedy" in run.meta["refused"]


def _data_of(run: RunFolder) -> str:
    return run.meta["data"]["source"]["path"]


def _stamps(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def _same(first: object, second: object) -> None:
    """Equal tables; floats to 1e-4, which another batch size may move."""
    assert _close(first, second)


def _close(first: object, second: object) -> bool:
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(_close(first[key], second[key]) for key in first)
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(map(_close, first, second))
    if isinstance(first, float) and isinstance(second, float):
        return first == pytest.approx(second, rel=1e-4, abs=1e-6)
    return first == second


def test_a_run_of_a_version_that_did_not_record_its_arithmetic_is_extended(tmp_path):
    source = kit.array_source(tmp_path, 12)
    run = kit.diagnosed(tmp_path / "run", source)
    meta = json.loads((tmp_path / "run" / "run.json").read_text())
    del meta["arithmetic"]
    write_run_file(tmp_path / "run", meta)
    classifier = kit.reader()
    again = kit.diagnosed(tmp_path / "run", source, classifier=classifier)
    assert classifier.forwards == 0
    assert kit.tables(again) == kit.tables(run)
