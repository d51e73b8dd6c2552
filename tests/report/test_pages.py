"""A page replaces a page of ours and nothing else; what a killed writer leaves is removed by the next."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from whywrong.core.errors import InputError, RunFolderError
from whywrong.report import pages
from whywrong.report.pages import write_page

HEAD = '<!doctype html>\n<meta name="generator" content="whywrong 9">\n'


def _killed(target: Path) -> None:
    def pieces() -> Iterator[str]:
        yield HEAD
        os.kill(os.getpid(), signal.SIGKILL)

    write_page(target, pieces())


@pytest.mark.parametrize(
    "content", ["my own page", "<!doctype html><title>mine</title>", "path,label\n", "\x7fELF", "{}", HEAD[16:]]
)
def test_a_file_of_somebody_else_is_kept(tmp_path, content):
    target = tmp_path / "report.html"
    target.write_text(content)
    with pytest.raises(InputError, match="was not written by whywrong"):
        write_page(target, iter([HEAD]))
    assert target.read_text() == content
    assert list(tmp_path.iterdir()) == [target]


def test_a_page_of_ours_is_replaced(tmp_path):
    target = tmp_path / "report.html"
    for text in ("one", "two"):
        write_page(target, iter([HEAD, text]))
        assert target.read_text() == HEAD + text


def test_links_pipes_and_folders_are_refused(tmp_path):
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "link.html").symlink_to(tmp_path / "victim")
    os.mkfifo(tmp_path / "pipe.html")
    (tmp_path / "folder.html").mkdir()
    for name in ("link.html", "pipe.html", "folder.html"):
        with pytest.raises(RunFolderError, match="expected a plain file"):
            write_page(tmp_path / name, iter([HEAD]))
    assert (tmp_path / "victim").read_text() == "precious"


def test_what_killed_writers_leave_is_removed_by_the_next_one(tmp_path):
    target = tmp_path / "report.html"
    (tmp_path / ".report.html.1234.tmp").write_text("mine")
    for _ in range(2):
        process = multiprocessing.get_context("fork").Process(target=_killed, args=(target,))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert len(list(tmp_path.glob(".report.html.*.tmp"))) == 2
    write_page(target, iter([HEAD]))
    assert sorted(path.name for path in tmp_path.iterdir()) == [".report.html.1234.tmp", "report.html"]


def test_every_table_that_scrolls_sideways_can_be_reached_and_scrolled_with_the_keyboard():
    templates = Path(pages.__file__).parent / "templates"
    boxes = [
        box for page in templates.glob("*.j2") for box in re.findall(r'<div class="scroll"[^>]*>', page.read_text())
    ]
    assert len(boxes) > 5
    assert [box for box in boxes if 'tabindex="0" role="region" aria-label="' not in box] == []
