"""Runs, models and data that leave little to conclude."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.runs import crash
from tests.verdicts import quadrants

import whywrong
from whywrong.api.verdicts import VerdictReport, give_verdicts
from whywrong.core.access import Access
from whywrong.core.errors import InputError
from whywrong.data.sources import open_source


def saved(folder: Path, pixels: np.ndarray, labels: np.ndarray):
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "data.npz", images=pixels, labels=labels)
    return open_source(folder / "data.npz")


def clean(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Images that the model predicts as their label."""
    pixels, labels = quadrants.images(2 * count, wrong=0.0, dots=0.0)
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    right = (quadrants.classifier().predict(x).numpy() == labels).nonzero()[0][:count]
    return pixels[right], labels[right]


def verdicts(folder: Path, source, model=None, **settings) -> VerdictReport:
    run = quadrants.diagnosed(folder / "run", source, model)
    more = {name: settings.pop(name) for name in ("helpers", "combiner", "reference") if name in settings}
    return give_verdicts(run, model or quadrants.classifier(), source, settings=settings, **more)


def number_of(row: dict) -> int:
    """Return the number of an image from its key, ``images[7]``."""
    return int(row["key"].partition("[")[2].rstrip("]"))


def rows(report: VerdictReport) -> list[dict]:
    return report.tables["verdicts"].to_pylist()


def test_without_errors_there_is_nothing_to_explain(tmp_path):
    report = verdicts(tmp_path, saved(tmp_path, *clean(20)))
    assert rows(report) == []
    assert report.record["errors"] == 0
    assert "nothing to explain" in report.record["notes"][0]


def test_one_error_has_no_group_and_no_recurrence(tmp_path, small_combiner):
    pixels, labels = clean(60)
    labels[0] = (labels[0] + 1) % 4
    report = verdicts(tmp_path, saved(tmp_path, pixels, labels), combiner=small_combiner)
    (row,) = rows(report)
    assert row["group_id"] is None
    assert not any("recurs" in text for text in row["for_text"])


def test_all_wrong_stops_and_points_to_check_unless_forced(tmp_path):
    pixels, labels = clean(40)
    source = saved(tmp_path, pixels, (labels + 1) % 4)
    run = quadrants.diagnosed(tmp_path / "run", source)
    with pytest.raises(InputError, match=r"No verdict is given; .*whywrong check.*--force"):
        give_verdicts(run, quadrants.classifier(), source)
    report = give_verdicts(run, quadrants.classifier(), source, settings={"force": True})
    assert len(rows(report)) == 40
    assert any("correct images to compare with: 0" in text for text in report.record["lacks"])


def test_with_few_correct_images_nothing_is_compared_and_nothing_below_09_is_stated(tmp_path, small_combiner):
    report = verdicts(tmp_path, quadrants.source(tmp_path, 45), combiner=small_combiner)
    assert report.record["reference"]["images"] == 0
    assert any("correct images to compare with" in text for text in report.record["lacks"])
    assert all(row["normal"] is None for row in report.tables["signs"].to_pylist())
    assert all(row["probability"] >= 0.9 for row in rows(report) if row["cause"] != "undetermined")


def test_with_labels_only_the_verdict_says_what_it_lacked(tmp_path, small_combiner):
    model = quadrants.classifier(access=Access.LABELS)
    report = verdicts(tmp_path, quadrants.source(tmp_path, 120), model, combiner=small_combiner)
    assert {row["access"] for row in rows(report)} == {"LABELS"}
    signs = report.tables["signs"].to_pylist()
    assert {row["status"] for row in signs if row["sign"] == "log_p_label"} == {"skipped"}
    assert all("needs access to SCORES" in row["reason"] for row in signs if row["sign"] == "log_p_label")


def test_a_helper_that_is_the_model_or_answers_as_it_is_no_further_opinion(tmp_path, run, source, small_combiner):
    twin = quadrants.classifier(identity="a copy")
    report = give_verdicts(
        run, quadrants.classifier(), source, helpers=[quadrants.classifier(), twin], combiner=small_combiner
    )
    assert [one["used"] for one in report.record["helpers"]] == [False, False]
    assert sum("is left out" in note for note in report.record["notes"]) == 2
    assert all(row["helper"] == [] for row in rows(report))


def test_a_helper_of_other_classes_is_refused(run, source):
    helper = quadrants.classifier(names=("cat", "dog", "cow", "nw"), identity="animals")
    with pytest.raises(InputError, match=r"knows 1 of the 4 classes of the model.*at least 90 % are needed"):
        give_verdicts(run, quadrants.classifier(), source, helpers=[helper])


def test_an_image_that_changed_since_the_run_gets_no_verdict_and_costs_no_other_its_own(tmp_path):
    pixels, labels = quadrants.images(90)
    source = saved(tmp_path, pixels, labels)
    run = quadrants.diagnosed(tmp_path / "run", source)
    first = run.query("select item_id, key from errors order by item_id").to_pylist()[0]
    pixels = pixels.copy()
    pixels[number_of(first)] = 255 - pixels[number_of(first)]
    report = give_verdicts(run, quadrants.classifier(), saved(tmp_path, pixels, labels))
    (changed,) = [row for row in rows(report) if row["item_id"] == first["item_id"]]
    assert "changed after it was predicted" in changed["why_text"]
    assert report.record["measured"] == report.record["errors"] - 1


def test_an_image_that_vanished_gets_no_verdict(tmp_path):
    pixels, labels = quadrants.images(90)
    run = quadrants.diagnosed(tmp_path / "run", saved(tmp_path, pixels, labels))
    last = max(run.query("select item_id, key from errors").to_pylist(), key=number_of)
    kept = saved(tmp_path, pixels[: number_of(last)], labels[: number_of(last)])
    report = give_verdicts(run, quadrants.classifier(), kept)
    assert report.record["failed"][last["item_id"]] == "the data no longer lists this image"


def test_copies_of_an_error_share_its_verdict_and_cost_nothing(tmp_path):
    pixels, labels = quadrants.images(80)
    source = saved(tmp_path, np.concatenate([pixels, pixels]), np.concatenate([labels, labels]))
    report = verdicts(tmp_path, source)
    found = rows(report)
    by_image: dict[str, list[dict]] = {}
    for row in found:
        by_image.setdefault(row["image_id"], []).append(row)
    assert all(len(twins) == 2 for twins in by_image.values())
    assert all(a["why_text"] == b["why_text"] and min(a["forwards"], b["forwards"]) == 0 for a, b in by_image.values())


def test_one_photograph_stored_twenty_times_is_no_mark(tmp_path):
    pixels, labels = clean(90)
    random = np.random.default_rng(0)
    pixels[0, -4:, -4:] = (250, 10, 10)
    copies = (pixels[0].astype(int) + random.integers(-2, 3, (20, *pixels[0].shape))).clip(0, 255).astype(np.uint8)
    source = saved(tmp_path, np.concatenate([copies, pixels[1:]]), np.concatenate([[3] * 20, labels[1:]]))
    report = verdicts(tmp_path, source, reference_images=60, least_reference=60, controls=0)
    groups = report.tables["groups"].to_pylist()
    assert len(rows(report)) >= 20
    assert not any(group["kind"] in ("mark", "cluster", "attractor") for group in groups)
    assert any(group["kind"] == "duplicates" and group["size"] == 20 for group in groups)


def test_free_depth_measures_nothing_and_still_finds_groups(run, source):
    model = quadrants.classifier()
    report = give_verdicts(run, model, source, settings={"depth": "free"})
    assert model.forwards == 0
    assert {row["cause"] for row in rows(report)} == {"undetermined"}
    assert report.tables["groups"].num_rows > 0


def _killed(run: Path, data: Path, kill_at: int) -> None:
    rename, seen = os.replace, 0

    def replace(source, target):
        nonlocal seen
        seen += 1
        rename(source, target)
        if seen == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    os.replace = replace
    give_verdicts(whywrong.open_run(run), quadrants.classifier(), open_source(data))


def test_killed_and_called_again_the_tables_are_equal_also_with_workers(tmp_path, source):
    plain = give_verdicts(quadrants.diagnosed(tmp_path / "a", source), quadrants.classifier(), source)
    run = quadrants.diagnosed(tmp_path / "b", source)
    process = crash.CONTEXT.Process(target=_killed, args=(run.path, Path(source.spec.path), 7))
    process.start()
    process.join(200)
    assert process.exitcode == -signal.SIGKILL
    from whywrong.runs.analyses import AnalysisOptions

    again = give_verdicts(run, quadrants.classifier(), source, options=AnalysisOptions(workers=2))
    for name, table in plain.tables.items():
        assert again.tables[name].equals(table), name
