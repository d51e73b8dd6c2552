"""What each command prints, and with which exit code it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import time

import pytest
from tests.runs.damage import picture

from whywrong.core.errors import EnvironmentFailure
from whywrong.models.loading.loaders import LOADERS
from whywrong.reproduce import CLAIMS

COMMANDS = (
    "demo",
    "check",
    "diagnose",
    "dissect",
    "verdict",
    "explain",
    "report",
    "query",
    "status",
    "plant",
    "reproduce",
    "spurious",
    "train",
    "robustness",
    "doctor",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches_with_an_example(whywrong, command):
    code, out, err = whywrong(command, "--help")
    assert (code, err) == (0, "")
    assert re.search(rf"Examples?:\n +whywrong {command}", out)


def test_the_help_of_the_benchmark_teaches_with_an_example(whywrong):
    code, out, err = whywrong("benchmark", "verdict", "--help")
    assert (code, err) == (0, "")
    assert re.search(r"Examples?:\n +whywrong benchmark verdict", out)
    code, out, _ = whywrong("benchmark", "--help")
    assert code == 0
    assert re.search(r"^  verdict ", out, re.MULTILINE)


def test_without_a_command_the_overview_is_shown(whywrong):
    code, out, _ = whywrong()
    assert code == 0
    assert [name for name in COMMANDS if re.search(rf"^  {name} ", out, re.MULTILINE)] == list(COMMANDS)


def test_diagnose_ends_with_a_summary_and_the_report(whywrong, small, tmp_path):
    code, out, err = whywrong("diagnose", small.model, small.images, "--out", tmp_path / "run", "--explain", 2)
    assert code == 1  # one file is broken
    lines = out.splitlines()
    assert lines[0] == f"The model misclassifies {small.wrong} of {small.count} images (20 %)."
    assert lines[-1] == f"Report: {tmp_path / 'run' / 'report.html'}"
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000
    assert "failed: red/broken.png: empty file" in err
    assert "predict 30/30" in err or "predict 31/31" in err


def test_a_plan_says_what_a_run_would_cost_and_writes_nothing(whywrong, small, tmp_path):
    code, out, _ = whywrong(
        "diagnose", small.model, small.images, "--plan", "--out", tmp_path / "run", "--depth", "deep"
    )
    assert code == 0
    assert "31 images; the data makes 1 shard of up to 256" in out
    assert "6 of 30 misclassified" in out  # the broken file has no answer
    assert re.search(r"predict +31 passes", out)
    assert re.search(r"profiles +[\d,]+ to [\d,]+ passes, typically 0, or 2,700 in full, an error", out)
    assert not (tmp_path / "run").exists()


def test_a_plan_of_labels_only_names_the_methods_that_would_not_run(whywrong, small, tmp_path):
    code, out, _ = whywrong("diagnose", small.model, small.images, "--plan", "--access", "scores")
    assert code == 0
    assert "inverted" in out
    assert "would not run: it needs access to GRADIENTS" in out


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
    assert "the same command resumes the run" in err


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


@pytest.mark.parametrize(
    ("command", "new"),
    [
        ("check", "--images"),
        ("diagnose", "--explain"),
        ("report", "--show"),
        ("query", "--rows"),
        ("reproduce", "--errors"),
    ],
)
def test_each_number_has_a_name_of_its_own_and_the_old_name_still_works(whywrong, command, new):
    shown = whywrong(command, "--help").out
    assert f"{new} N" in shown
    assert "--limit" not in shown
    _, _, err = whywrong(command, "--limit", "no-number")
    assert f"'{new}' / '--limit'" in err


def test_a_random_sample_is_classified_and_a_larger_one_adds_to_it(whywrong, small, tmp_path):
    run = tmp_path / "run"
    arguments = ("diagnose", small.model, small.images, "--out", run, "--methods", "cam", "--progress", "none")
    _, out, _ = whywrong(*arguments, "--images", 12)
    assert " of 31 were drawn at random and classified." in out

    def predicted() -> set[str]:
        rows = whywrong("query", run, "select key from predictions", "--json").out.splitlines()
        return {json.loads(line)["key"] for line in rows}

    few = predicted()
    assert len(few) == 12
    whywrong(*arguments, "--images", 20)
    more = predicted()
    assert len(more) == 20
    assert few < more
    whywrong(*arguments, "--images", 5)  # what is done stays
    assert predicted() == more
    _, out, _ = whywrong(*arguments)
    assert len(predicted()) == 31
    assert "drawn at random" not in out


def test_a_used_up_time_budget_ends_with_a_report_and_the_same_command_resumes(whywrong, small, tmp_path, monkeypatch):
    from whywrong.runs.work import predict

    ask = predict.ask

    def slow(*arguments):
        time.sleep(1.0)
        return ask(*arguments)

    arguments = ("diagnose", small.model, small.images, "--out", tmp_path / "run", "--progress", "none")
    arguments += ("--batch-size", 8)
    with monkeypatch.context() as patched:
        patched.setattr(predict, "ask", slow)
        code, out, err = whywrong(*arguments, "--time-budget", 0.02)  # 1.2 s, and a batch takes one
    assert code in (0, 1)
    assert "The time budget of 0.02 min is used up; the same command resumes the run" in err
    assert "The run is not finished" in out
    assert (tmp_path / "run" / "report.html").exists()
    _, out, err = whywrong(*arguments)
    assert "used up" not in err
    assert out.splitlines()[0] == f"The model misclassifies {small.wrong} of {small.count} images (20 %)."


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("diagnose", "MODEL", "DATA", "--out", "run", "--methods", "camm"), 'no method "camm"; nearest: "cam"'),
        (("diagnose", "MODEL", "DATA", "--out", "run", "--set", "cam.kin=auto"), 'nearest: "cam.kind"'),
        (("diagnose", "MODEL", "nowhere", "--out", "run"), "nowhere"),
        (("diagnose", "MODEL", "DATA"), "name the output folder: --out RUN"),
        (("diagnose", "MODEL", "nowhere", "--plan"), "nowhere"),
        (("check", "MODEL", "nowhere"), "nowhere"),
        (("reproduce", "inverted.99"), 'no claim "inverted.99"'),
        (("reproduce", "inverted.99", "DATA", "--model", "MODEL"), "the claims of inverted are inverted.1, "),
        (("reproduce", "inverse.1", "DATA", "--model", "MODEL"), "the families are "),
        (("reproduce", "inverse.all"), "the families are "),
        (("reproduce", "inverted.1", "nowhere", "--model", "MODEL"), "nowhere"),
        (("explain", "MODEL", "nowhere.png", "--label", "red"), "nowhere.png: no such image"),
        (("explain", "MODEL", "IMAGE", "--label", "red", "--methods", "camm"), 'nearest: "cam"'),
        (("spurious", "MODEL", "nowhere", "--out", "found"), "nowhere"),
        (("plant", "MODEL", "nowhere", "--out", "found"), "nowhere"),
        (("plant", "MODEL", "DATA", "--out", "found", "--cause", "corruptions"), 'nearest: "corruption"'),
        (("train", "capsnt", "DATA", "--out", "net"), 'nearest: "capsnet"'),
        (("train", "capsnet", "DATA", "--out", "net", "--set", "withd=3"), 'nearest: "capsnet.width"'),
        (("train", "capsnet", "DATA", "--out", "net", "--set", "epochs=3"), "has an option of its own: --epochs"),
        (("train", "capsnet", "nowhere", "--out", "net"), "nowhere"),
    ],
)
def test_cheap_mistakes_are_refused_before_the_model_loads(whywrong, small, tmp_path, monkeypatch, arguments, words):
    from whywrong import api

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(api, "load_classifier", lambda *_, **__: pytest.fail("the model was loaded"))
    named = {"MODEL": small.model, "DATA": small.images, "IMAGE": small.images / "green" / "00.png"}
    code, out, err = whywrong(*(named.get(word, word) for word in arguments))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert words in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "following"),
    [
        (("check", "MODEL", "DATA", "--batch-size", "8"), "diagnose MODEL DATA --batch-size 8 --out runs/a"),
        (("diagnose", "MODEL", "DATA", "--out", "run"), "diagnose MODEL DATA --depth standard --out run"),
        (("diagnose", "MODEL", "DATA", "--plan"), "diagnose MODEL DATA --out runs/a"),
        (
            (
                "diagnose",
                "MODEL",
                "DATA",
                "--plan",
                "--out",
                "run",
                "--methods",
                "cam",
                "--images",
                "9",
                "--set",
                "cam.kind=auto",
            ),
            "diagnose MODEL DATA --methods cam --images 9 --set cam.kind=auto --out run",
        ),
        (("diagnose", "MODEL", "DATA", "--out", "run", "--methods", "cam"), "query run"),
        (("explain", "MODEL", "IMAGE", "--label", "green", "--out", "run", "--methods", "cam"), "query run"),
        (("report", "FINISHED", "--out", "a.html"), "query FINISHED"),
        (("query", "FINISHED"), "query FINISHED 'select "),
        (("reproduce",), "reproduce CLAIM DATA --model MODEL"),
    ],
)
def test_a_command_ends_with_the_one_to_run_next(
    whywrong, small, finished, tmp_path, monkeypatch, arguments, following
):
    monkeypatch.chdir(tmp_path)
    images = small.images
    named = {"MODEL": small.model, "DATA": images, "IMAGE": images / "green" / "00.png", "FINISHED": finished}
    if arguments != ("reproduce",):
        following = " ".join(str(named.get(word, word)) for word in following.split(" "))
    _, _, err = whywrong(*(named.get(word, word) for word in arguments))
    assert f"Next: whywrong {following}" in err.splitlines()[-1]


def test_sums_are_numbers_in_json(whywrong, finished):
    sql = "select sum(label) as total, sum(label * 10::decimal(4,1)) as tens, sum(1.5::decimal(4,2)) as d from items"
    row = json.loads(whywrong("query", finished, sql, "--json").out)
    assert row == {"total": 30, "tens": 300, "d": 46.5}
    assert isinstance(row["total"], int)


def test_check_shows_its_progress(whywrong, small):
    _, _, err = whywrong("check", small.model, small.images, "--progress", "json", "--batch-size", "8")
    records = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
    assert {record["stage"] for record in records} == {"check"}
    assert (records[-1]["done"], records[-1]["total"], records[-1]["errors"], records[-1]["failed"]) == (31, 31, 6, 1)


def test_the_first_interrupt_is_answered_at_once(whywrong, small, tmp_path, monkeypatch):
    from whywrong.runs.work import predict

    ask = predict.ask

    def interrupted(*arguments):
        os.kill(os.getpid(), signal.SIGINT)
        return ask(*arguments)

    monkeypatch.setattr(predict, "ask", interrupted)
    arguments = ("diagnose", small.model, small.images, "--out", tmp_path / "run", "--progress", "none")
    code, out, err = whywrong(*arguments)
    assert (code, out) == (130, "")
    first, last = err.splitlines()
    assert first.startswith("whywrong: stopping after the batch in hand, at most 5 s;")
    assert last.startswith("whywrong: interrupted; finished work is kept in")


def test_check_prints_accuracy_findings_and_first_errors(whywrong, small):
    code, out, err = whywrong("check", small.model, small.images)
    assert code == 1
    assert out.startswith("6 of 30 images wrong; accuracy 80.0 % (95 % interval 62.7 to 90.5 %), 3 classes.")
    assert "green/00.png: green predicted as red" in out
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
    assert "The model predicts red" in out
    assert "the label is green" in out
    assert (tmp_path / "why" / "report.html").exists()


@pytest.mark.parametrize("content", ["path,label\nmine.png,red\n", "", "path,label\n00.png,red\n"])
def test_explain_writes_into_no_folder_that_holds_an_image_list_of_the_user(whywrong, small, tmp_path, content):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "image.csv").write_text(content)
    before = picture(tmp_path)
    image = small.images / "green" / "00.png"
    code, out, err = whywrong("explain", small.model, image, "--label", "green", "--out", tmp_path / "mine")
    assert (code, out) == (2, "")
    assert "the folder is not empty and holds no run" in err
    assert picture(tmp_path) == before


@pytest.mark.parametrize("where", [".", "made", "red/made", "red", ".."])
def test_plant_writes_neither_into_the_data_nor_around_them(whywrong, small, where):
    before = picture(small.images)
    out = small.images / where
    code, printed, err = whywrong("plant", small.model, small.images, "--out", out, "--label-by", "name")
    assert (code, printed) == (2, "")
    assert re.search("lies in the data|is the folder of the data|lie in the run folder", err)
    assert picture(small.images) == before


def test_explain_of_a_right_image_says_so(whywrong, small, tmp_path):
    image = small.images / "red" / "06.png"
    code, out, _ = whywrong("explain", small.model, image, "--label", "red", "--out", tmp_path / "why")
    assert code == 0
    assert "The model predicts red" in out
    assert "which is the label" in out


def test_explain_refuses_an_unknown_label_without_naming_a_file_that_the_user_never_wrote(whywrong, small, tmp_path):
    image = small.images / "red" / "06.png"
    code, out, err = whywrong("explain", small.model, image, "--label", "rde", "--out", tmp_path / "why")
    assert (code, out) == (2, "")
    assert '"rde"' in err
    assert 'nearest: "red"' in err
    assert "image.csv" not in err
    assert not (tmp_path / "why").exists()


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
    assert [line.split()[0] for line in out.splitlines()] == [claim.name for claim in CLAIMS]


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
    names = [claim.name for claim in CLAIMS if claim.name.startswith("inverted.")]
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
        (("inverse.all",), "the families are "),
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


ENGINE = """
from pathlib import Path
from whywrong.runs.engines.local import local_engine

def LINE(spec, classifier, source, options):
    Path(spec.folder, "..", "engine.txt").write_text(f"{options.workers} worker")
    return local_engine(spec, classifier, source, options)
"""


def test_an_engine_of_a_plug_in_does_the_work_if_it_is_named(whywrong, small, tmp_path, install_plugin):
    install_plugin("toy_engine", ENGINE, "whywrong.engines")
    flags = ("--out", tmp_path / "run", "--methods", "cam", "--engine", "toy")
    assert whywrong("diagnose", small.model, small.images, *flags).code == 1  # one file is broken
    assert (tmp_path / "engine.txt").read_text() == "1 worker"


def test_help_names_every_way_to_name_a_model(whywrong):
    for arguments in (("--help",), ("check", "--help")):
        text = " ".join(whywrong(*arguments).out.split())
        assert [line.form for line in LOADERS if line.form not in text] == []
