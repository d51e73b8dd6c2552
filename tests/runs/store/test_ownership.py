"""Nothing is deleted, moved or overwritten that the product did not write itself."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from tests.runs import kit
from tests.runs.damage import STRANGE, fill, picture

from whywrong.core.errors import RunFolderError
from whywrong.data.sources import open_source
from whywrong.runs.folder import RunFolder
from whywrong.runs.store.layout import check_folder, survey
from whywrong.runs.store.temporaries import target_of, temporary_for

FOREIGN = {
    "a project with our folder names": {
        "deep/er/.unsaved.odt.1234.tmp": "my work",
        ".listing.backup/precious.txt": "keep",
        "maps/my_model.safetensors": "model",
        "items/sales.parquet": "table",
    },
    "a hidden temporary file": {".notes.1234.tmp": "my work"},
    "a temporary file named like ours": {"items/.00000.parquet.1234.tmp": "my work"},
    "tables named like ours": {"items/00000.parquet": "table", "parts/cam/0123456789ab/00000.parquet": "table"},
    "a run.json of another program": {"run.json": '{"schema": 1, "methods": {}}'},
    "a run.json that quotes a seal": {"run.json": '{"schema": 1, "seal": "whywrong-seal:' + "0" * 32 + '"}'},
    "a lock of another program": {"lock": "precious"},
    "an empty lock": {"lock": ""},
    "a report of another program": {"report.html": "<!doctype html><title>mine</title>"},
    "an image list": {"image.csv": "my own table"},
    "an empty folder": {"parts/": ""},
    "one byte": {"x": "x"},
    "a listing": {".listing.abcdefgh/listed": "mine"},
    "a quarantine": {"quarantine/items/00000.parquet.1": "mine"},
}


@pytest.mark.parametrize("files", FOREIGN.values(), ids=FOREIGN)
def test_a_folder_that_holds_no_run_is_refused_and_not_one_byte_changes(tmp_path, files):
    out = fill(tmp_path / "project", files)
    source = kit.array_source(tmp_path / "data", 5)
    before = picture(out)
    classifier = kit.reader()
    with pytest.raises(RunFolderError, match=r"not empty and holds no run|not a lock of a run") as caught:
        kit.diagnosed(out, source, classifier=classifier)
    assert caught.value.exit_code == 2
    assert picture(out) == before
    assert classifier.forwards == 0


def test_other_files_in_a_run_folder_outlive_everything_that_a_run_does_there(tmp_path):
    source = kit.array_source(tmp_path, 20)
    run = kit.diagnosed(tmp_path / "run", source)
    theirs = {
        "notes.txt": "mine",
        ".notes.txt.1234.tmp": "mine",
        "items/sales.parquet": "mine",
        "items/.sales.parquet.1234.tmp": "mine",
        "items/.00000.parquet.swp": "mine",
        "maps/my_model.safetensors": "mine",
        "parts/.unsaved.tmp": "mine",
        "parts/predictions/mine.parquet": "mine",
        "thumbs/cat.parquet": "mine",
        ".listing.backup/precious.txt": "mine",
        ".listing.abcdefgh/precious.txt": "mine",
        ".report.html.1234567": "mine",
        ".report.html.mybackup": "mine",
        "quarantine/items/00000.parquet.1": "mine",
    }
    fill(run.path, theirs)
    shard = sorted(run.items.glob("0*.parquet"))[0]
    shard.write_bytes(shard.read_bytes()[:-40])
    with pytest.warns(UserWarning, match="put into quarantine"):
        kit.diagnosed(tmp_path / "run", source)
    assert {name: (run.path / name).read_text() for name in theirs} == theirs
    assert (run.path / "quarantine/items/00000.parquet.2").exists()


@pytest.mark.parametrize("content", ["{}", '{"pid": 12', '{"pid":1,"host":"elsewhere","started":"x"}'])
def test_what_a_run_leaves_that_was_killed_before_its_first_file_counts_as_nothing(tmp_path, content, monkeypatch):
    out = fill(tmp_path / "run", {"lock": content} if "pid" in content else {})
    os.utime(out, (1, 1))
    for name in ("lock", "run.json"):
        temporary_for(out / name).write_bytes(b"half")
    if "pid" in content:
        os.utime(out / "lock", (1, 1))
    for path in out.glob(".*.tmp"):
        _of_a_dead_process(path)
    run = kit.diagnosed(out, kit.array_source(tmp_path, 5))
    assert run.meta["complete"]
    assert not list(out.glob(".*"))


LINKS = ("lock", "run.json", "items", "parts", "maps", "thumbs", "report.html", "spurious", "quarantine",
         "parts/stub", "items/00000.parquet", "image.csv")  # fmt: skip


@pytest.mark.parametrize("name", LINKS)
def test_a_link_inside_of_a_run_folder_is_refused_and_what_it_leads_to_stays(tmp_path, name):
    source = kit.array_source(tmp_path / "data", 20)
    run = kit.diagnosed(tmp_path / "run", source)
    victim, path = tmp_path / "victim", run.path / name
    is_folder = path.is_dir() or name in ("spurious", "quarantine")
    if is_folder:
        fill(victim, {"train.parquet": "precious", "00000.parquet": "precious", ".00000.parquet.1.tmp": "precious"})
    else:
        victim.write_text("precious")
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    path.symlink_to(victim)
    before = picture(tmp_path)
    with pytest.raises(RunFolderError, match=r"expected a plain (file|folder) of a run, found a link"):
        kit.diagnosed(run.path, source)
    assert picture(tmp_path) == before


def test_a_lock_that_is_a_link_in_an_otherwise_empty_folder_is_refused(tmp_path):
    victim = tmp_path / "victim.txt"
    victim.write_text("precious")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "lock").symlink_to(victim)
    with pytest.raises(RunFolderError, match="lock: expected a plain file"):
        kit.diagnosed(tmp_path / "run", kit.array_source(tmp_path, 5))
    assert victim.read_text() == "precious"


def test_a_run_folder_that_is_itself_reached_through_a_link_works(tmp_path):
    source = kit.array_source(tmp_path, 5)
    (tmp_path / "other disk").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "other disk")
    run = kit.diagnosed(tmp_path / "run", source)
    assert (tmp_path / "other disk" / "run.json").exists()
    assert kit.tables(kit.diagnosed(tmp_path / "run", source)) == kit.tables(run)
    (tmp_path / "nowhere").symlink_to(tmp_path / "missing")
    with pytest.raises(RunFolderError, match="a link that leads nowhere"):
        kit.diagnosed(tmp_path / "nowhere", source)


@pytest.mark.parametrize("kind", STRANGE)
@pytest.mark.parametrize("name", ["run.json", "lock", "items/00000.parquet", "thumbs/00000.parquet"])
def test_a_pipe_socket_device_or_folder_in_the_place_of_a_file_is_refused_at_once(tmp_path, name, kind):
    source = kit.array_source(tmp_path, 5)
    run = kit.diagnosed(tmp_path / "run", source)
    (run.path / name).unlink(missing_ok=True)
    STRANGE[kind](run.path / name)
    with pytest.raises(RunFolderError, match=f"{Path(name).name}: expected a plain file of a run"):
        kit.diagnosed(run.path, source)
    if name != "lock":
        with pytest.raises(RunFolderError, match="expected a plain file of a run"):
            kit.tables(RunFolder(run.path))


@pytest.mark.parametrize("kind", STRANGE)
def test_a_folder_that_holds_nothing_but_a_strange_run_file_is_refused_at_once(tmp_path, kind):
    (tmp_path / "run").mkdir()
    STRANGE[kind](tmp_path / "run" / "run.json")
    with pytest.raises(RunFolderError, match=r"run\.json: expected a plain file"):
        kit.diagnosed(tmp_path / "run", kit.array_source(tmp_path, 5))


def test_a_run_inside_or_around_the_data_is_refused_before_work(tmp_path):
    data = tmp_path / "photos"
    kit.folder_source(data, 8)
    before = picture(data)
    (tmp_path / "link").symlink_to(data)
    inside = (data / "run", data / "ant" / "run", data / "a" / "b" / "run", tmp_path / "link" / "run", data / "ant")
    itself = (data, tmp_path / "link")
    places = {**dict.fromkeys(inside, "lies in the data"), **dict.fromkeys(itself, "is the folder of the data")}
    for out, words in {**places, tmp_path: "lie in the run folder"}.items():
        classifier = kit.reader()
        with pytest.raises(RunFolderError, match=words) as caught:
            kit.diagnosed(out, open_source(data), classifier=classifier)
        assert caught.value.exit_code == 2
        assert classifier.forwards == 0
    assert picture(data) == before
    beside = kit.diagnosed(tmp_path / "photos-run", open_source(data))
    assert beside.meta["complete"]


def test_a_table_of_images_may_lie_beside_its_run(tmp_path):
    kit.folder_source(tmp_path / "ant", 8)
    rows = [f"{path.relative_to(tmp_path)},{path.parent.name}" for path in sorted(tmp_path.rglob("*.png"))]
    (tmp_path / "labels.csv").write_text("\n".join(["path,label", *rows]))
    run = kit.diagnosed(tmp_path / "run", open_source(tmp_path / "labels.csv"))
    assert run.meta["complete"]


@pytest.mark.skipif(os.name == "nt", reason="names are bytes on POSIX only")
@pytest.mark.parametrize("name", [b"caf\xe9", b"\xff run2", b"a\xc3", b"\x80", b"up/\xf0\x28/run"])
def test_a_run_folder_whose_name_is_not_utf8_is_refused_in_one_sentence(tmp_path, name):
    out = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    with pytest.raises(RunFolderError, match="must be UTF-8"):
        kit.diagnosed(out, kit.array_source(tmp_path, 5))
    assert not out.exists()


def test_a_run_of_version_0_1_that_was_killed_is_swept_and_goes_on(tmp_path):
    source = kit.array_source(tmp_path, 20)
    run = kit.diagnosed(tmp_path / "run", source)
    page = '<!doctype html>\n<meta name="generator" content="whywrong 0.1.0">'
    left = {
        ".run.json.999999999.tmp": "{",
        "items/.00000.parquet.999999999.tmp": "half",
        f"parts/predictions/{run.predictions.name}/.00001.parquet.999999999.tmp": "half",
        f"parts/stub/{run.parts('stub').name}/.schema.parquet.999999999.tmp": "half",
        f"maps/stub/{run.parts('stub').name}/.00000.safetensors.999999999.tmp": "half",
        ".report.html.k3_x9a0b": page,
        ".spurious.html.aaaaaaaa": "",
        ".listing.k3_x9a0b/listed": "half",
        ".listing.k3_x9a0b/spill/": "",
    }
    fill(run.path, left)
    kit.diagnosed(run.path, source)
    assert not list(run.path.rglob(".*"))


def test_temporary_files_of_a_living_process_stay(tmp_path):
    source = kit.array_source(tmp_path, 5)
    run = kit.diagnosed(tmp_path / "run", source)
    path = temporary_for(run.path / "report.html")
    path.write_text("being written")
    living = path.with_name(path.name.replace(f".{os.getpid()}.", f".{os.getppid()}."))
    assert target_of(living.name) is None  # the token speaks for the number of the process, too
    _of_a_dead_process(path, os.getppid())
    kit.diagnosed(run.path, source)
    assert len(list(run.path.glob(".report.html.*"))) == 1


def test_a_name_that_only_looks_like_a_temporary_file_of_ours_is_not_one():
    path = temporary_for(Path("report.html"))
    assert target_of(path.name) == "report.html"
    assert target_of(path.name.replace("report", "repor")) is None
    for name in (
        ".report.html.1.tmp",
        ".report.html.1.0123456789abcdef0123.tmp",
        "report.html",
        path.name + "x",
        ".tmp",
    ):
        assert target_of(name) is None


def test_a_survey_names_the_files_of_a_run_and_no_others(tmp_path):
    run = kit.diagnosed(tmp_path / "run", kit.array_source(tmp_path, 20))
    mine = {path.relative_to(run.path) for path in run.path.rglob("*") if path.is_file()}
    fill(run.path, {"items/1.parquet": "", "items/٠٠٠٠٠.parquet": "", "parts/stub/xyz/00000.parquet": "", "a/b": ""})
    assert {path.relative_to(run.path) for path in survey(run.path).files} == mine
    check_folder(run.path)


def _of_a_dead_process(path: Path, pid: int = 999_999_999) -> None:
    """The temporary file as another process would have named it."""
    from whywrong.runs.store import temporaries

    target = target_of(path.name)
    assert target is not None
    name = f".{target}.{pid}.00000000{temporaries._digest(target, pid, '00000000')}.tmp"
    path.rename(path.with_name(name))
