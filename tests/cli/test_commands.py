"""What each command prints, and with which exit code it ends."""

from __future__ import annotations

import json
import re

import pytest

from whywrong.core.errors import EnvironmentFailure
from whywrong.core.registry import BUILTIN_CLAIMS

COMMANDS = ("demo", "check", "diagnose", "explain", "report", "query", "plant", "reproduce", "spurious", "doctor")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches_with_an_example(whywrong, command):
    code, out, err = whywrong(command, "--help")
    assert (code, err) == (0, "")
    assert re.search(rf"Examples?:\n +whywrong {command}", out)


def test_without_a_command_the_overview_is_shown(whywrong):
    code, out, _ = whywrong()
    assert code == 0
    assert [name for name in COMMANDS if re.search(rf"^  {name} ", out, re.MULTILINE)] == list(COMMANDS)


def test_diagnose_ends_with_a_summary_and_the_report(whywrong, small, tmp_path):
    code, out, err = whywrong("diagnose", small.model, small.images, "--out", tmp_path / "run", "--limit", 2)
    assert code == 1  # one file is broken
    lines = out.splitlines()
    assert lines[0] == f"{small.wrong} of {small.count} images are wrong (20 %)."
    assert lines[-1] == f"Report: {tmp_path / 'run' / 'report.html'}"
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000
    assert "failed: red/broken.png: empty file" in err
    assert "predict 30/30" in err or "predict 31/31" in err


def test_a_method_that_could_not_run_is_named_with_its_reason(whywrong, small, tmp_path):
    options = ("--methods", "patch_groups", "--set", "patch_groups.grid=5", "--progress", "none")
    _, out, err = whywrong("diagnose", small.model, small.images, "--out", tmp_path / "run", *options)
    assert "refused: patch_groups: a grid of 5 x 5 cells does not divide 16 x 16; these do: 2, 4, 8, 16" in err
    assert "refused" not in out


def test_diagnose_again_goes_on_and_says_the_same(whywrong, small, tmp_path):
    arguments = ("diagnose", small.model, small.images, "--out", tmp_path, "--limit", 1, "--methods", "cam")
    first, second = whywrong(*arguments), whywrong(*arguments)
    assert first.code == second.code == 1
    assert first.out == second.out


def test_diagnose_shows_progress_as_json(whywrong, small, tmp_path):
    _, _, err = whywrong(
        "diagnose", small.model, small.images, "--out", tmp_path, "--methods", "cam", "--progress", "json"
    )
    records = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
    assert [r["stage"] for r in records if r["done"] == r["total"]] == ["list", "predict", "explain"]
    assert {"stage", "done", "total", "errors", "failed", "passes", "seconds", "per_second"} == set(records[0])
    assert records[-1]["errors"] == 6


def test_an_interrupted_search_ends_with_130_and_one_line(whywrong, small, tmp_path, monkeypatch):
    from whywrong import api

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(api, "spurious_features", stop)
    code, out, err = whywrong("spurious", small.model, small.images, "--out", tmp_path / "found", "--progress", "none")
    assert (code, out) == (130, "")
    assert err.strip() == "whywrong: interrupted; run the same command again"


def test_an_interrupted_run_ends_with_130_and_says_how_to_go_on(whywrong, small, tmp_path, monkeypatch):
    from whywrong import api

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(api, "diagnose", interrupted)
    code, out, err = whywrong("diagnose", small.model, small.images, "--out", tmp_path / "run")
    assert (code, out) == (130, "")
    assert "the same command goes on from there" in err


def test_a_failing_environment_ends_with_3_in_one_line(whywrong, small, tmp_path, monkeypatch):
    from whywrong import api

    def full(*_: object, **__: object) -> None:
        raise EnvironmentFailure("the disk is full")

    monkeypatch.setattr(api, "diagnose", full)
    assert whywrong("diagnose", small.model, small.images, "--out", tmp_path) == (
        3,
        "",
        "whywrong: the disk is full\n",
    )


def test_a_fault_of_ours_is_said_as_one_and_debug_shows_where(whywrong, monkeypatch):
    from whywrong import api

    def broken(*_: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(api, "open_run", broken)
    code, _, err = whywrong("query", "somewhere")
    assert code == 3
    assert err.count("\n") == 1
    assert "unexpected ZeroDivisionError" in err
    monkeypatch.setenv("WHYWRONG_DEBUG", "1")
    assert "Traceback" in whywrong("query", "somewhere").err


def test_check_prints_accuracy_findings_and_first_errors(whywrong, small):
    code, out, err = whywrong("check", small.model, small.images)
    assert code == 1
    assert out.startswith("6 of 30 images wrong; accuracy 80.0 % (95 % interval 62.7 to 90.5 %), 3 classes.")
    assert "green/00.png: green read as red" in out
    assert "failed: red/broken.png: empty file" in err


def test_check_stops_with_2_where_a_diagnosis_would_mean_nothing(whywrong, small):
    model = small.model.replace(":net", ":probabilities")
    code, out, _ = whywrong("check", model, small.images, "--json")
    found = json.loads(out)
    levels = {finding["level"] for finding in found["findings"]}
    assert code == (2 if "stop" in levels else 1)
    assert levels, "probabilities in place of logits must be noticed"


def test_explain_reads_one_image_and_writes_its_report(whywrong, small, tmp_path):
    image = small.images / "green" / "00.png"
    code, out, _ = whywrong("explain", small.model, image, "--label", "green", "--out", tmp_path / "why")
    assert code == 0
    assert "The model reads this as red" in out
    assert "It is labelled green" in out
    assert (tmp_path / "why" / "report.html").exists()


def test_explain_of_a_right_image_says_so(whywrong, small, tmp_path):
    image = small.images / "red" / "06.png"
    code, out, _ = whywrong("explain", small.model, image, "--label", "red", "--out", tmp_path / "why")
    assert code == 0
    assert "The model reads this as red" in out
    assert "which is what it is labelled" in out


def test_report_writes_where_it_is_told(whywrong, finished, tmp_path):
    code, out, _ = whywrong("report", finished, "--out", tmp_path / "a.html")
    assert (code, out) == (0, f"{tmp_path / 'a.html'}\n")
    assert (tmp_path / "a.html").read_text(encoding="utf-8").startswith("<!")


def test_query_prints_a_table(whywrong, finished):
    code, out, _ = whywrong("query", finished, "select count(*) as n, 0.5 as half from errors")
    assert (code, out.split()) == (0, ["n", "half", "6", "0.5"])


def test_query_without_sql_lists_the_views(whywrong, finished):
    views = [line.split()[0] for line in whywrong("query", finished).out.splitlines() if not line.startswith(" ")]
    assert {"items", "predictions", "errors", "failed_items", "inverted", "cam"} <= set(views)


def test_query_prints_json_lines_without_nan(whywrong, finished):
    sql = "select key, 'nan'::double as x, [1, 2] as l from predictions where status = 'ok' order by key"
    rows = [json.loads(line) for line in whywrong("query", finished, sql, "--json").out.splitlines()]
    assert len(rows) == 30
    assert rows[0]["x"] is None
    assert rows[0]["l"] == [1, 2]
    assert any("grün" in row["key"] for row in rows)


def test_reproduce_lists_the_claims(whywrong):
    code, out, _ = whywrong("reproduce")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == [claim.name for claim in BUILTIN_CLAIMS]


def test_reproduce_prints_verdict_and_sentence_or_json(whywrong, small, tmp_path):
    arguments = ("reproduce", "inverted.1", small.images, "--model", small.model, "--limit", 4)
    code, out, err = whywrong(*arguments, "--figure", tmp_path / "c.svg")
    assert code == 0
    assert "undecided: no failure in 4 errors" in out
    assert (tmp_path / "c.svg").exists()
    assert "figure:" in err
    assert json.loads(whywrong(*arguments, "--json").out)["n"] == 4


def test_reproduce_all_prints_every_claim_and_draws_each(whywrong, small, tmp_path):
    arguments = ("reproduce", "inverted.all", small.images, "--model", small.model, "--limit", 4)
    code, out, _ = whywrong(*arguments, "--figure", tmp_path / "new" / "{name}-a.svg")
    assert code == 0
    names = [claim.name for claim in BUILTIN_CLAIMS if claim.name.startswith("inverted.")]
    assert [line.split()[0] for line in out.splitlines() if line.startswith("inverted.")] == names
    assert sorted(file.name for file in (tmp_path / "new").iterdir()) == [f"{name}-a.svg" for name in names]
    records = json.loads(whywrong(*arguments, "--json", "--figure", tmp_path / "figures").out)
    assert [record["name"] for record in records] == names
    assert sorted(file.name for file in (tmp_path / "figures").iterdir()) == [f"{name}.png" for name in names]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("inverted.1", "--judge", "MODEL"), "inverted.1 takes no judges"),
        (("inverted.all", "--judge", "MODEL"), "inverted.all takes no judges"),
        (("inverted.all", "--set", "atack=sign"), 'nearest: "attack"'),
        (("inverse.all",), "there are: "),
        (("inverted.all", "--figure", "one.png"), "several figures"),
        (("inverted.1", "--figure", "one.doc"), "figures end in"),
    ],
)
def test_reproduce_refuses_before_it_computes(whywrong, small, arguments, words):
    name, *rest = [small.model if word == "MODEL" else word for word in arguments]
    code, out, err = whywrong("reproduce", name, small.images, "--model", small.model, *rest)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert words in err


def test_doctor_names_every_requirement(whywrong):
    code, out, _ = whywrong("doctor", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["missing"] == []
    assert {"torch", "duckdb", "typer"} <= set(found["packages"])
    assert "onnxruntime" in found["extras"]


def test_version(whywrong):
    from whywrong import __version__

    assert whywrong("--version").out == f"whywrong {__version__}\n"
