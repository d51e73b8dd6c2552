"""An analysis from one file and one line: it runs in units, resumes, takes workers, and is queried."""

from __future__ import annotations

import json
import os
import re
import signal
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tests.runs import crash, kit, toy_analysis
from tests.runs.toy_analysis import TOY, ToyConfig, lines

import whywrong
from whywrong.core.access import Access
from whywrong.core.errors import AccessError, InputError, RunFolderError
from whywrong.core.registry import analyses, find_analysis, methods
from whywrong.models.classifier import Classifier
from whywrong.report.html import write_report
from whywrong.runs.analyses import AnalysisOptions, run_analysis
from whywrong.runs.folder import RunFolder

COUNT = 40


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setattr("whywrong.explain.analyses.ANALYSES", (TOY,))


@pytest.fixture
def source(tmp_path):
    return kit.array_source(tmp_path, COUNT)


def run(folder: Path, source, *, log: Path | None = None, workers: int = 1, classifier=None, told=None, **settings):
    config = ToyConfig(log="" if log is None else str(log), **settings)
    return run_analysis(
        TOY,
        classifier or kit.reader(),
        {"data": source},
        folder,
        config=config,
        options=AnalysisOptions(workers=workers),
        progress=None if told is None else told.append,
    )


def table(folder: Path) -> list[dict]:
    return pq.read_table(folder / "results" / "toy" / "toy.parquet").to_pylist()


def test_a_line_in_the_registry_is_found_by_name():
    assert analyses() == {"toy": TOY}
    assert find_analysis("toy") is TOY
    with pytest.raises(InputError, match='no analysis "tow"; nearest: "toy"; the analyses are: toy'):
        find_analysis("tow")


def test_it_runs_over_units_of_both_kinds_and_leaves_its_table_and_record(source, tmp_path):
    log, told = tmp_path / "log", []
    result = run(tmp_path / "out", source, log=log, told=told)
    units = lines(log)
    assert sum(unit.startswith("means") for unit in units) == -(-COUNT // kit.SHARD)
    assert sum(unit.startswith("spread") for unit in units) == len(kit.NAMES)
    rows = table(tmp_path / "out")
    assert [row["class"] for row in rows] == [0, 1, 2, 3]
    assert [row["mean"] for row in rows] == result.columns()["mean"]
    record = json.loads((tmp_path / "out" / "results" / "toy" / "record.json").read_text())
    assert record["checks"] == {"lowest": min(result.mean), "highest": max(result.mean)}
    assert (record["analysis"], record["config"]["gain"]) == ("toy", 1.0)
    assert [one.stage for one in told if one.done == one.total] == ["means", "spread of a class"]
    assert max(one.passes for one in told if one.stage == "means") > 0


def test_the_same_call_again_computes_no_unit_and_another_setting_only_what_depends_on_it(source, tmp_path):
    log, classifier = tmp_path / "log", kit.reader()
    run(tmp_path / "out", source, log=log)
    before = table(tmp_path / "out")
    log.unlink()
    run(tmp_path / "out", source, log=log, classifier=classifier)
    assert lines(log) == []
    assert table(tmp_path / "out") == before
    run(tmp_path / "out", source, log=log, power=2.0)
    assert {line.split()[0] for line in lines(log)} == {"spread"}
    log.unlink()
    run(tmp_path / "out", source, log=log, gain=2.0)
    assert {line.split()[0] for line in lines(log)} == {"means", "spread"}
    assert [row["mean"] for row in table(tmp_path / "out")] == pytest.approx([2 * row["mean"] for row in before])


@dataclass(frozen=True, slots=True)
class WiderSpread:
    distance: float
    more: int = 0


def test_parts_of_another_layout_are_computed_again_instead_of_misread(source, tmp_path, monkeypatch):
    log = tmp_path / "log"
    run(tmp_path / "out", source, log=log)
    before = table(tmp_path / "out")
    log.unlink()
    monkeypatch.setattr(toy_analysis, "Spread", WiderSpread)
    run(tmp_path / "out", source, log=log)
    assert {line.split()[0] for line in lines(log)} == {"spread"}
    assert table(tmp_path / "out") == before


def test_a_damaged_part_is_moved_aside_and_computed_again(source, tmp_path):
    log = tmp_path / "log"
    run(tmp_path / "out", source, log=log)
    before = table(tmp_path / "out")
    log.unlink()
    part = next((tmp_path / "out" / "analyses" / "toy" / "means").glob("*/00001.safetensors"))
    content = bytearray(part.read_bytes())
    content[-1] ^= 1
    part.write_bytes(content)
    run(tmp_path / "out", source, log=log)
    assert len(lines(log)) == 1
    assert table(tmp_path / "out") == before
    assert list((tmp_path / "out" / "quarantine").rglob("00001.safetensors*"))


def _killed(folder: Path, data: Path, log: Path, kill_at: int) -> None:
    from whywrong.data.sources import open_source
    from whywrong.explain import analyses as declared
    from whywrong.runs import identity

    declared.ANALYSES = (TOY,)
    identity.SHARD_SIZE = kit.SHARD
    rename, seen = os.replace, 0

    def replace(source, target):
        nonlocal seen
        seen += 1
        rename(source, target)
        if seen == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    os.replace = replace
    run(folder, open_source(data), log=log)


@pytest.mark.parametrize("kill_at", [1, 3, 7])
def test_killed_and_called_again_it_computes_what_is_missing_and_says_the_same(source, tmp_path, kill_at):
    log = tmp_path / "log"
    process = crash.CONTEXT.Process(target=_killed, args=(tmp_path / "out", Path(source.spec.path), log, kill_at))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    assert 0 < len(lines(log)) <= kill_at
    run(tmp_path / "out", source, log=log)
    run(tmp_path / "undisturbed", source, log=tmp_path / "other")
    assert sorted(lines(log)) == sorted(lines(tmp_path / "other"))  # no unit twice, none left out
    assert table(tmp_path / "out") == table(tmp_path / "undisturbed")


def test_workers_compute_the_same(source, tmp_path):
    run(tmp_path / "one", source)
    log = tmp_path / "log"
    run(tmp_path / "two", source, workers=2, log=log)
    assert table(tmp_path / "one") == table(tmp_path / "two")
    assert str(os.getpid()) not in log.read_text().split()


@pytest.mark.slow
def test_an_image_that_ends_its_worker_fails_alone(source, tmp_path):
    classifier = kit.reader()
    classifier.recipe = kit.Recipe(poison=(5,), deed="kill")
    result = run(tmp_path / "out", source, workers=2, classifier=classifier)
    ((key, reason),) = result.failed
    assert "ended by SIGKILL on this image" in reason
    assert key == list(source.entries())[5].key


def test_a_classifier_in_memory_works_alone_and_says_so(source, tmp_path):
    classifier = Classifier(kit.Reader(), classes=kit.reader().classes, preprocess=kit.SPEC)
    with pytest.warns(UserWarning, match="the classifier exists only in memory"):
        run(tmp_path / "out", source, workers=2, classifier=classifier)
    assert len(table(tmp_path / "out")) == 4


def test_its_view_is_in_a_run_beside_the_others_and_the_run_goes_on(tmp_path):
    source = kit.array_source(tmp_path, COUNT)
    kit.diagnosed(tmp_path / "run", source)
    run(tmp_path / "run", source)
    rows = RunFolder(tmp_path / "run").query("select * from toy order by class").to_pylist()
    assert rows == table(tmp_path / "run")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = kit.diagnosed(tmp_path / "run", source)  # what the analysis left is not taken for shards of the run
    assert len(again.query("select * from toy")) == 4


def test_the_report_of_a_run_shows_its_section_and_one_that_raises_costs_its_own_part_alone(tmp_path, monkeypatch):
    kit.diagnosed(tmp_path / "run", source := kit.array_source(tmp_path, COUNT))
    without = write_report(RunFolder(tmp_path / "run")).read_text(encoding="utf-8")
    run(tmp_path / "run", source)
    page = write_report(RunFolder(tmp_path / "run")).read_text(encoding="utf-8")
    assert "How bright the &lt;classes&gt; are" in page
    assert f"The darkest class has a level of {min(row['mean'] for row in table(tmp_path / 'run')):.3f}." in page
    assert f"<td>{table(tmp_path / 'run')[2]['mean']:.3f}</td>" in page
    assert "How bright" not in without
    broken = replace(TOY, report="tests.runs.toy_analysis:no_such_section")
    monkeypatch.setattr("whywrong.explain.analyses.ANALYSES", (broken,))
    page = write_report(RunFolder(tmp_path / "run")).read_text(encoding="utf-8")
    assert "Its section could not be made (AttributeError" in page
    assert "Method and limits" in page


def test_runs_names_no_method_and_no_analysis(monkeypatch):
    monkeypatch.undo()
    names = re.compile(rf"\b({'|'.join([*methods(), *analyses()])})\b")
    source = Path(whywrong.__file__).parent / "runs"
    named = [
        f"{path.relative_to(source)}:{number}: {line.strip()}"
        for path in sorted(source.rglob("*.py"))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if names.search(line) and not line.strip().startswith(">>>")  # an example calls one
    ]
    assert "spurious" in analyses()
    assert named == []


def test_access_place_and_model_are_checked_before_anything_is_read(source, tmp_path):
    blind = kit.reader()
    blind.access = Access.LABELS
    with pytest.raises(AccessError, match="toy needs access to SCORES, this classifier grants LABELS"):
        run(tmp_path / "out", source, classifier=blind)
    assert not (tmp_path / "out").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(RunFolderError, match="holds no run"):
        run(tmp_path / "full", source)
    with pytest.raises(InputError, match="workers must be at least 1, got 0"):
        AnalysisOptions(workers=0)
