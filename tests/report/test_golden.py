"""Pages over the same results say the same from one change to the next, unless the change is meant.

A page that is to say something else is written anew with ``python -m tests.report.test_golden``; its difference is
then read like any other.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.report.analyses.test_spurious_gallery import make_search, with_changes
from tests.report.fake_run import make_run
from tests.report.outline import outline

from whywrong.report import write_report
from whywrong.report.analyses.spurious.gallery import write_gallery

HERE = Path(__file__).parent / "golden"


def report(folder: Path) -> Path:
    """Errors with everything that a method can say of them."""
    return write_report(make_run(folder, images=40, errors=10, duplicates=1, failed=1, waiting=2))


def gallery(folder: Path) -> Path:
    """Components of two classes, and changes into them."""
    names = ["cup", "mug", "plate"]
    return write_gallery(with_changes(make_search(folder, names), names))


PAGES: dict[str, Callable[[Path], Path]] = {"report": report, "gallery": gallery}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_says_what_it_said(name, tmp_path):
    said = outline(PAGES[name](tmp_path)).splitlines()
    assert said == (HERE / f"{name}.txt").read_text(encoding="utf-8").splitlines()


if __name__ == "__main__":
    for one, make in PAGES.items():
        with tempfile.TemporaryDirectory() as place:
            (HERE / f"{one}.txt").write_text(outline(make(Path(place))), encoding="utf-8")
