"""Images read right in role play: which are chosen, what is stored of them, and what errors are compared with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.runs import kit

from whywrong.core.access import Access
from whywrong.core.classes import ClassList
from whywrong.core.discoveries import confirm
from whywrong.models.classifier import Classifier
from whywrong.runs import controls
from whywrong.runs.folder import RunFolder

COLUMNS = "item_id, key, label, asked, held_out, v, p"


@pytest.fixture(autouse=True)
def _with_controls(monkeypatch):
    monkeypatch.setattr("whywrong.explain.methods.METHODS", (kit.role_play_method(),))


POISONED = -1


def raising(classifier, x, y, **options):
    """The stub, but for one image."""
    if bool(((x[:, 0, 0, 1] * 255).round().long() == POISONED).any()):
        raise ValueError("poison")
    return kit.played(classifier, x, y, **options)


def told(run: RunFolder) -> tuple[list, list]:
    """Errors and controls, in an order of their own."""
    errors = run.query("select item_id, v, p, place_confirmed from played order by item_id").to_pylist()
    return errors, run.query(f"select {COLUMNS} from played_controls order by item_id").to_pylist()


def same(one: RunFolder, other: RunFolder) -> None:
    """Equal but for the last bits of floats."""
    for mine, theirs in zip(told(one), told(other), strict=True):
        assert len(mine) == len(theirs)
        for a, b in zip(mine, theirs, strict=True):
            assert {k: pytest.approx(v, nan_ok=True) if isinstance(v, float) else v for k, v in b.items()} == a


@pytest.fixture(scope="module")
def _module_controls():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("whywrong.explain.methods.METHODS", (kit.role_play_method(),))
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory, _module_controls) -> RunFolder:
    """A run of 120 images, to be looked at only."""
    folder = tmp_path_factory.mktemp("controls")
    return kit.diagnosed(folder / "run", kit.array_source(folder, 120))


def test_controls_are_right_images_asked_for_their_runner_up(run):
    pixels, labels = kit.images(120)
    with torch.no_grad():
        logits = kit.Reader()(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255)
    order = logits.sort(dim=1, descending=True, stable=True).indices
    rows = run.query("select * from played_controls").to_pylist()
    right = int((order[:, 0] == torch.from_numpy(labels)).sum())
    assert len(rows) == right  # fewer than 200: all there are
    for row in rows:
        at = int(row["key"][7:-1])
        assert (row["label"], row["asked"], row["given"]) == (labels[at], order[at, 1], order[at, 1])
        assert row["asked_name"] == kit.NAMES[row["asked"]]
        assert row["v"] == pytest.approx(pixels[at].mean() / 255, rel=1e-5)
        assert row["forwards"] == 1


def test_only_errors_in_detail_are_asked_and_compared_with_all_controls(run):
    errors, beside = told(run)
    asked = [row for row in errors if row["v"] is not None and not np.isnan(row["v"])]
    assert len(asked) == 10
    assert all(row["p"] is None and row["place_confirmed"] is None for row in errors if row not in asked)
    turned = run.query("select turned from played where status = 'ok' order by item_id")["turned"].to_numpy()
    reference = np.array([row["v"] for row in beside])
    found = confirm(np.array([row["v"] for row in asked]), turned, reference)
    assert [row["p"] for row in asked] == pytest.approx(found.p.tolist())
    assert [row["place_confirmed"] for row in asked] == found.kept.tolist()


def test_those_held_out_are_compared_with_the_others(run):
    _, beside = told(run)
    held_out = [row for row in beside if row["held_out"]]
    others = np.array([row["v"] for row in beside if not row["held_out"]])
    assert 0.25 < len(held_out) / len(beside) < 0.55
    for row in held_out:
        assert row["p"] == pytest.approx((1 + (others >= row["v"]).sum()) / (len(others) + 1))
    assert all(row["p"] is None for row in beside if not row["held_out"])


def test_controls_store_no_maps(run):
    rows = [row["item_id"] for row in told(run)[1]]
    stored = {path.name for path in (run.path / "maps").iterdir()}
    assert stored == {"played"}
    assert not any(run.maps("played", item) for item in rows)


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_they_do_not_depend_on_the_batch_size(tmp_path, run, batch_size):
    source = kit.array_source(tmp_path, 120)
    again = kit.diagnosed(tmp_path / "run", source, batch_size=batch_size)
    ours, theirs = told(run)[1], told(again)[1]
    assert [row["key"] for row in ours if row["held_out"]] == [row["key"] for row in theirs if row["held_out"]]
    same(run, again)


def test_two_workers_give_the_same(tmp_path, run):
    again = kit.diagnosed(tmp_path / "run", kit.array_source(tmp_path, 120), workers=2)
    same(run, again)


def test_a_second_call_asks_nothing_and_a_higher_limit_asks_the_new_errors(tmp_path):
    source = kit.array_source(tmp_path, 60)
    kit.diagnosed(tmp_path / "run", source, limit=4)
    classifier = kit.reader()
    kit.diagnosed(tmp_path / "run", source, limit=4, classifier=classifier)
    assert classifier.forwards == 0
    more = kit.diagnosed(tmp_path / "run", source, limit=9, classifier=classifier)
    assert classifier.forwards == 5  # all images read right were asked before
    same(more, kit.diagnosed(tmp_path / "whole", source, limit=9))


def test_controls_that_are_no_longer_chosen_fall_away_and_new_ones_are_added(tmp_path, monkeypatch):
    monkeypatch.setattr(controls, "ENOUGH_CONTROLS", 6)
    monkeypatch.setattr(controls, "HELD_OUT_COUNT", (3, 5))
    source = kit.array_source(tmp_path, 60)
    first = kit.diagnosed(tmp_path / "run", source, limit=2)
    assert [len([r for r in told(first)[1] if r["held_out"] is flag]) for flag in (False, True)] == [6, 3]
    more = kit.diagnosed(tmp_path / "run", source, limit=8)
    assert [len([r for r in told(more)[1] if r["held_out"] is flag]) for flag in (False, True)] == [16, 5]
    same(more, kit.diagnosed(tmp_path / "whole", source, limit=8))


def test_an_image_on_which_the_method_raises_is_recorded_and_costs_no_other(tmp_path, run, monkeypatch):
    poisoned = next(int(row["key"][7:-1]) for row in told(run)[1])

    monkeypatch.setattr(
        "whywrong.explain.methods.METHODS", (replace(kit.role_play_method(), function=f"{__name__}:raising"),)
    )
    monkeypatch.setattr(f"{__name__}.POISONED", poisoned)
    again = kit.diagnosed(tmp_path / "run", kit.array_source(tmp_path, 120))
    failed = again.query("select * from failed_items").to_pylist()
    assert [(row["key"], row["stage"]) for row in failed] == [(f"images[{poisoned}]", "played controls")]
    assert "poison" in failed[0]["reason"]
    assert len(told(again)[1]) == len(told(run)[1]) - 1


@pytest.mark.parametrize("share", [0.0, 1.0], ids=["all right", "all wrong"])
def test_no_errors_need_no_controls_and_no_right_images_give_none(tmp_path, share):
    pixels, labels = kit.images(40)
    pixels[:, 0, 0, :] = ((labels + int(share)) % kit.K)[:, None]
    run = kit.diagnosed(tmp_path / "run", kit.saved(tmp_path, pixels, labels))
    errors, beside = told(run)
    assert len(errors) == 40 * share
    assert beside == []
    assert all(row["p"] is None and row["place_confirmed"] is None for row in errors)


def test_labels_only_are_refused_and_have_no_controls(tmp_path):
    classifier = Classifier(
        kit.Reader(), classes=ClassList(kit.NAMES), preprocess=kit.SPEC, access=Access.LABELS, identity="labels"
    )
    run = kit.diagnosed(tmp_path / "run", kit.array_source(tmp_path, 30), classifier=classifier)
    assert "SCORES" in run.meta["refused"]["played"]
    assert run.query("select * from runner_up where clear is not null").num_rows == 0
    assert not (run.path / "parts" / "played-controls").exists()


def test_an_image_that_changed_is_asked_again(tmp_path):
    source = kit.folder_source(tmp_path / "data", 60)
    first = kit.diagnosed(tmp_path / "run", source)
    key = told(first)[1][0]["key"]
    path = next((tmp_path / "data").rglob(key.rsplit("/", 1)[-1]))
    pixels, labels = kit.images(60)
    at = int(path.stem)
    pixels[at, 4, 4] = 255 - pixels[at, 4, 4]
    kit.write_png(path, pixels[at])
    classifier = kit.reader()
    again = kit.diagnosed(tmp_path / "run", kit.open_source(tmp_path / "data"), classifier=classifier)
    assert classifier.forwards == 2  # predicted, and asked, once
    assert labels[at] == next(row["label"] for row in told(again)[1] if row["key"] == key)


# The clear runner-up.


def test_leads_are_those_of_the_logits(run):
    pixels, labels = kit.images(120)
    with torch.no_grad():
        logits = kit.Reader()(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255).double().numpy()
    for row in run.query("select * from predictions").to_pylist():
        at = int(row["key"][7:-1])
        order = sorted(range(kit.K), key=lambda c: -logits[at, c])
        asked = labels[at] if labels[at] != order[0] else order[1]
        rival = next(c for c in order[1:] if c != asked)
        leads = {
            j: (logits[at, order[0]] - logits[at, next(c for c in order[1:] if c != j)])
            / (logits[at, order[0]] - logits[at, j])
            for j in order[1:]
        }
        assert row["rival"] == rival
        assert row["lead"] == pytest.approx(leads[asked], rel=1e-4)
        assert min(abs(row["random_lead"] - lead) for lead in leads.values()) < 1e-4


def test_random_classes_are_drawn_evenly(tmp_path):
    run = kit.diagnosed(tmp_path / "run", kit.array_source(tmp_path, 250))
    rows = run.query("select rank_of_true, random_lead, lead from predictions where label = predicted").to_pylist()
    # Of the three other classes one is the runner-up: its lead is the one above 1, or at 1 in a tie.
    share = np.mean([row["random_lead"] == row["lead"] for row in rows])
    assert 1 / 3 - 0.12 < share < 2 / 3


def test_fewer_than_200_right_images_leave_the_runner_up_open_and_more_do_not(tmp_path, run):
    assert set(run.query("select clear from runner_up")["clear"].to_pylist()) == {None}
    many = kit.diagnosed(tmp_path / "run", kit.array_source(tmp_path, 330))
    rows = many.query("select * from runner_up").to_pylist()
    assert len(rows) == len(many.errors())
    leads = many.query("select random_lead from predictions where label = predicted")["random_lead"].to_numpy()
    threshold = max(1.0, float(np.quantile(leads, 0.95, method="inverted_cdf")))
    assert (leads > threshold).mean() <= 0.05
    for row in rows:
        assert row["controls"] == len(leads) >= 200
        assert row["threshold"] == pytest.approx(threshold)
        assert row["clear"] == (row["lead"] > threshold)
        assert row["rival_name"] == kit.NAMES[row["rival"]]
