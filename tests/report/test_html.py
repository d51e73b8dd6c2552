"""The report file: self-contained, text stays text, missing pieces degrade."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest
from tests.report.fake_run import CLASSES, METHODS, make_run, textured_photo

from whywrong.core.errors import EnvironmentFailure
from whywrong.report import write_report

VOID = {"meta", "link", "img", "input", "br", "path"}
TEXTS = {
    "logits are not finite", "the gradient is zero everywhere", "the model has no patch tokens",
    "2 of 2 judges agree beyond the controls, and the change lasts", "log_odds", "steps",
}  # fmt: skip
HOSTILE = [
    "<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>",
    "' autofocus onfocus='alert(1)", "{{ 7*7 }}{% raw %}",
    "](javascript:alert(1))", "line\nbreak\ttab", "bad\udcff\udcfe.png", "</style><svg onload=alert(1)>",
    "\u202egnp.exe", "&lt;b&gt;&amp;", "--><iframe src=//x>", "=cmd|' /C calc'!A0", "🧀 猫", "x" * 255,
]  # fmt: skip


class Page(HTMLParser):
    """Elements, attributes and text of a page; checks that the elements nest."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text("utf-8")
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(self.source)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] not in (["script"], ["style"]):
            self.text.append(data)

    def values(self, name: str) -> list[str]:
        return [value for _, key, value in self.attributes if key == name]

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Page:
    run = make_run(tmp_path_factory.mktemp("run"), images=60, errors=30, duplicates=2, failed=3, waiting=4)
    return Page(write_report(run))


def test_the_file_lies_in_the_run_folder_by_default(tmp_path):
    assert write_report(make_run(tmp_path)) == tmp_path / "report.html"
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_nothing_is_referred_to_outside_the_file(page):
    for tag, name, value in page.attributes:
        if name in ("src", "href", "action", "srcset", "data", "poster"):
            assert value.startswith(("data:", "#")), (tag, name, value[:80])
    assert not re.search(r"@import|https?://|//[a-z]+\.[a-z]", page.source.split("</style>")[0])
    assert set(re.findall(r"url\((.{0,11})", page.source)) == {"data:image/"}
    assert "fetch(" not in page.source
    assert "XMLHttpRequest" not in page.source


def test_the_policy_allows_only_the_script_of_the_report(page):
    policy = next(value for tag, name, value in page.attributes if tag == "meta" and "default-src" in value)
    script = re.search(r"<script>(.*)</script>", page.source, re.S)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert page.tags["script"] == 1
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]


def test_every_link_has_its_target_and_every_id_is_unique(page):
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    assert {value[1:] for value in page.values("href") if value.startswith("#")} <= set(ids)
    assert set(page.values("for")) <= set(ids)
    for labelled in page.values("aria-labelledby"):
        assert labelled in ids


def test_every_picture_has_an_alternative_text(page):
    assert page.tags["img"] == sum(tag == "img" and name == "alt" for tag, name, _ in page.attributes)
    pictures = [value for tag, name, value in page.attributes if tag == "span" and name == "aria-label"]
    assert page.source.count('<span class="pic ') + page.source.count('<span class="photo ') == len(
        [value for value in pictures if value != "predicted as"]
    )
    assert sum(value.startswith("Photograph") for value in pictures) == 30


def test_landmarks_and_headings_order_the_page(page):
    for landmark in ("header", "main", "nav", "h1"):
        assert page.tags[landmark] >= 1
    assert page.tags["h1"] == page.tags["main"] == 1
    assert page.tags["article"] == 30


def test_one_section_holds_story_numbers_checks_and_caveats(page):
    for words in ("The model predicts", "Smallest change", "Where the model is sensitive", "Evidence map"):
        assert words in page.words
    for words in ("meaningful", "noise-like", "graded", "Controls"):
        assert words not in page.words
    assert "PNG named .jpg" in page.words
    assert re.search(r"8-bit change × \d+, otherwise invisible", page.words)
    assert "the sum misses the logits by 12 %" in page.words
    for words in ("of 49 patches", "How patches work together", "By the log-odds of", "hollow point",
                  "What would have to change", "adversarial noise, not an explanation"):  # fmt: skip
        assert words in page.words.replace("\u00a0", " ")


def test_a_confirmed_place_is_told_with_its_control_and_can_be_filtered(page):
    words = page.words.replace("\u00a0", " ")
    assert "more than any other class" in words
    assert "were tested with their runner-up as the label, 2 show as large an effect" in words
    assert "No single place was found that accounts for this error" in words
    assert "were tested with their runner-up as the label, 13 %" in words
    assert "Place confirmed (" in words
    assert "place" in page.values("name")
    assert "clear runner-up (lead over the next class 3.1 ×" in words


def test_without_confirmed_places_there_is_no_such_filter(tmp_path):
    run = make_run(tmp_path)
    run.rewrite("covering", lambda value: False if value is True else value)
    page = Page(write_report(run))
    assert "Place confirmed" not in page.words
    assert "place" not in page.values("name")
    assert "Hiding this place" not in page.words


def test_all_errors_together_are_told_once(page):
    assert page.words.count("What the errors have in common") == 1
    for words in ("How many patches are enough", "What counterfactuals show", "the predicted class"):
        assert words in page.words
    assert "#together" in page.values("href")


@pytest.mark.parametrize("method", ["profiles", "patch_groups", "counterfactuals"])
def test_a_run_without_a_method_shows_nothing_of_it(tmp_path, method):
    words = {
        "profiles": ("How patches work together", "Game-Theoretic", "interaction profile shows"),
        "patch_groups": ("patches are enough", "of 49 patches", "Identifying Important"),
        "counterfactuals": ("have to change", "What counterfactuals show", "Sparse Visual"),
    }[method]
    rest = tuple(name for name in METHODS if name != method)
    page = Page(write_report(make_run(tmp_path, images=40, errors=20, methods=rest)))
    for text in words:
        assert text not in page.words
    assert f"{method} (" in page.words.split("Did not run")[1]


def test_method_and_limits_name_what_ran_what_failed_and_whom_to_cite(page):
    for words in (
        "truncated file", "accuracy is near chance", "samples", "c0ffee", "Explaining Image Misclassification",
        "Identifying Important Group of Pixels", "Game-Theoretic Understanding", "Sparse Visual Counterfactual",
        "1 interaction profile: logits are not finite", "1 search for patch groups: logits are not finite",
        "Causes were not tested", "2 items repeat an earlier image", "4 still to do",
    ):  # fmt: skip
        assert words in page.words.replace("\u00a0", " ")


def test_hostile_names_stay_text(tmp_path):
    plain = Page(write_report(make_run(tmp_path / "a", images=40, errors=14)))
    classes = ["<script>alert(2)</script>", *HOSTILE[1:6]]
    hostile = Page(write_report(make_run(tmp_path / "b", images=40, errors=14, classes=classes, keys=HOSTILE)))
    assert hostile.tags == plain.tags
    assert Counter(name for _, name, _ in hostile.attributes) == Counter(name for _, name, _ in plain.attributes)
    for name in ("<script>alert(1)</script>", "{{ 7*7 }}{% raw %}", "](javascript:alert(1))", "line\\nbreak\\ttab",
                 "bad\\xff\\xfe.png", "\\u202egnp.exe", "&lt;b&gt;&amp;", "🧀 猫"):  # fmt: skip
        assert name in hostile.words
    assert not any("javascript:" in value for value in hostile.values("href") + hostile.values("src"))


def test_hostile_text_in_every_field_of_the_run_stays_text(tmp_path):
    def told(folder: Path, text: str) -> Page:
        run = make_run(folder, images=8, errors=6, failed=1)
        storable = text.encode("utf-8", "backslashreplace").decode()
        run.meta["model"] |= {"source": text, "identity": text, "input": {text: text}}
        run.meta["data"] |= {"source": {"path": text}, "warnings": [text], "ignored": {text: 1}}
        run.meta["methods"]["inverted"]["config"] = {text: text}
        run.meta |= {
            "notes": [text], "refused": {"other": text, "cam": text}, "created": text, "machine": {text: text},
            "health": [{"level": text, "name": "x", "text": text}], "versions": {text: text}, "depth": text,
        }  # fmt: skip
        for view in ("profiles", "patch_groups", "counterfactuals"):
            run.rewrite(view, lambda value: storable if isinstance(value, str) and value in TEXTS else value)
        return Page(write_report(run))

    plain = told(tmp_path / "plain", "harmless")
    hostile = told(tmp_path / "hostile", " ".join(HOSTILE))
    assert hostile.tags == plain.tags
    assert len(hostile.attributes) == len(plain.attributes)


@pytest.mark.parametrize(
    "options",
    [
        {"methods": ()},
        {"methods": ("cam",)},
        {"methods": ("inverted",)},
        {"methods": ("profiles",)},
        {"methods": ("patch_groups",)},
        {"methods": ("counterfactuals",)},
        {"methods": ("inverted", "cam")},
        {"methods": ("cam", "profiles", "patch_groups", "counterfactuals")},
        {"detailed": False},
        {"errors": 0},
        {"images": 12, "errors": 12},
        {"images": 1, "errors": 1},
        {"images": 0, "errors": 0, "waiting": 5},
        {"images": 0, "errors": 0, "failed": 5},
        {"images": 8, "errors": 0, "unlabelled": 8},
        {"waiting": 20, "failed": 4},
        {"side": 32},
    ],
    ids=str,
)
def test_missing_pieces_leave_a_valid_report(tmp_path, options):
    page = Page(write_report(make_run(tmp_path, **options)))
    assert page.tags["h1"] == 1
    for odd in ("None", "nan", "NaN"):
        assert not re.search(rf"\b{odd}\b(?! of)", page.words), odd
    ids = page.values("id")
    assert {value[1:] for value in page.values("href") if value.startswith("#")} <= set(ids)


def test_an_error_without_a_thumbnail_or_maps_is_still_told(tmp_path):
    run = make_run(tmp_path)
    run.thumbs.clear()
    run.stored.clear()
    page = Page(write_report(run))
    assert page.tags["article"] == 12
    assert "no picture stored" in page.words


def test_duplicates_are_shown_with_both_names(tmp_path):
    keys = ["cat/first.jpg", *[f"x/{i}.jpg" for i in range(5)], "cat/copy of first.jpg"]
    page = Page(write_report(make_run(tmp_path, images=20, errors=6, duplicates=1, keys=keys)))
    assert "cat/first.jpg same image as cat/copy of first.jpg" in page.words


def test_the_limit_bounds_the_sections_and_says_so(tmp_path):
    page = Page(write_report(make_run(tmp_path, images=60, errors=40), limit=9))
    assert page.tags["article"] == 9
    assert "9 of 40 different errors are shown," in page.words.replace("\u00a0", " ")
    with pytest.raises(ValueError, match="at least 1"):
        write_report(make_run(tmp_path), limit=0)


def test_two_reports_of_one_run_are_equal(tmp_path):
    run = make_run(tmp_path)
    first = write_report(run, tmp_path / "a.html").read_bytes()
    assert write_report(run, tmp_path / "b.html").read_bytes() == first


def test_a_report_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    run = make_run(tmp_path)
    path = write_report(run)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(EnvironmentFailure, match="the disk is full"):
        write_report(run)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_two_hundred_errors_with_everything_stay_under_20_mb(tmp_path):
    names = [f"class {i}" for i in range(1000)]
    photos = [textured_photo(i) for i in range(20)]
    run = make_run(tmp_path, images=500, errors=200, classes=names, side=224, photos=photos)
    run.rewrite("counterfactuals", lambda value: "semantic" if value in ("adversarial", "undecided") else value)
    assert write_report(run).stat().st_size < 20e6


def test_classes_up_to_thirty_get_a_matrix(tmp_path):
    assert "Every confusion" in Page(write_report(make_run(tmp_path / "few", classes=CLASSES))).words
    many = [f"class {i}" for i in range(31)]
    assert "Every confusion" not in Page(write_report(make_run(tmp_path / "many", classes=many))).words
