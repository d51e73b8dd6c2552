"""The documents: code that runs, and a page for every method, setting, claim, command, option and public name."""

from __future__ import annotations

import dataclasses
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import pytest

import whywrong
from whywrong.cli import app
from whywrong.cli.help import shown_record
from whywrong.core.registry import resolve
from whywrong.explain.methods import METHODS
from whywrong.reproduce import CLAIMS

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md")])
CODE = re.compile(r"<!-- run -->\n```python\n(.*?)```", re.DOTALL)


def blocks() -> list[tuple[str, str]]:
    """Page and text of the code that is marked to be run."""
    return [(str(page.relative_to(ROOT)), code) for page in PAGES for code in CODE.findall(page.read_text("utf-8"))]


@pytest.mark.parametrize(("page", "code"), blocks(), ids=[page for page, _ in blocks()])
def test_code_marked_to_run_runs(page, code, capsys):
    exec(compile(code, page, "exec", dont_inherit=True), {"__name__": "__docs__"})


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_every_method_has_its_page_with_every_setting(method):
    page = (DOCS / "methods" / f"{method.name}.md").read_text("utf-8")
    config = resolve(method.config)
    assert f"::: {config.__module__}.{config.__qualname__}" in page  # the settings are shown from their docstring
    described = re.findall(r"^        (\w+(?:, \w+)*): ", config.__doc__, re.MULTILINE)
    names = {name for group in described for name in group.split(", ")}
    assert names >= {field.name for field in dataclasses.fields(config)}
    for heading in ("## What it computes", "## Where it misleads", "## How it was checked", "## Source", "## Settings"):
        assert heading in page


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_every_page_of_a_method_shows_the_columns_that_its_result_declares(method):
    hook = runpy.run_path(str(DOCS / "column_tables.py"))
    shown = hook["on_page_markdown"]((DOCS / "methods" / f"{method.name}.md").read_text("utf-8"))
    result = get_type_hints(resolve(method.function))["return"]
    assert f"<!-- columns of {method.name} -->" not in shown
    for one in result.schema():
        assert f"\n| `{one.name}` | " in shown
    assert all(len(one.doc) > 8 for one in result.declared())


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.name)
def test_every_claim_and_its_settings_are_in_the_guide(claim):
    guide = (DOCS / "guides" / "reproduce.md").read_text("utf-8")
    assert f"`{claim.name}`" in guide
    assert claim.title in guide
    for field in dataclasses.fields(resolve(claim.config)):
        assert f"| `{field.name}` |" in guide


def test_every_command_and_option_is_in_the_reference():
    from typer.main import get_command

    page = (DOCS / "reference" / "commands.md").read_text("utf-8")
    group = get_command(app)
    context = group.make_context("whywrong", [], resilient_parsing=True)
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        assert f"\n## {name}\n" in page
        for parameter in command.get_params(context):
            record = parameter.get_help_record(context)
            if record is None or parameter.param_type_name == "argument" or parameter.name == "help":
                continue
            record = shown_record(record)
            text = record[1].split("  [")[0].replace("|", "/")
            assert f"| `{record[0]}` | {text}" in page, (name, record)


def test_the_reference_lists_exactly_the_public_names():
    page = (DOCS / "reference" / "python.md").read_text("utf-8")
    listed = set(re.findall(r"^::: whywrong\.(\w+)$", page, re.MULTILINE))
    assert listed == {name for name in whywrong.__all__ if name != "__version__"}


def test_links_between_pages_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text("utf-8")):
            if not re.match(r"[a-z]+:", target) and not target.endswith("report.png"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.slow
def test_the_site_builds_strictly_and_refers_to_no_other_host(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    subprocess.run(command, cwd=ROOT, check=True, timeout=300)
    loads = re.compile(r"<(?:link|script|img|iframe)[^>]+(?:href|src)=\"(https?:)?//[^\"]+\"")
    for page in (tmp_path / "site").rglob("*.html"):
        assert loads.findall(page.read_text("utf-8")) == []
    shutil.rmtree(tmp_path / "site")


MOST_WORDS = 25
LONG_SENTENCES = {  # pages in which some sentence is longer; a page leaves when none is
    *("methods/counterfactuals.md", "methods/counterfactuals_trust.md", "methods/covering.md"),
    *("methods/patch_groups.md", "methods/profiles.md", "methods/spurious.md", "reference/commands.md"),
}


def sentences(text: str) -> list[str]:
    """The sentences of a page, without code, tables, headings and the addresses of links."""
    text = re.sub(r"```.*?```|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"\]\([^)]*\)", "]", re.sub(r"`[^`]*`", "Code", text))
    blocks = [block for block in re.split(r"\n\s*\n", text) if not block.lstrip().startswith(("|", "#", ":::", "!["))]
    items = [item for block in blocks for item in re.split(r"\n(?=[-*:] |\d+\. )", block)]
    return [sentence for item in items for sentence in re.split(r"(?<=[.!?:])\s+(?=[A-Z(\"*])", " ".join(item.split()))]


def test_sentences_are_told_apart():
    page = "# A title of words\n\nOne `a. B` [two](x.md) three. Four\nfive:\n\n- Six.\n- Seven eight.\n\n| a | b |\n"
    assert sentences(page) == ["One Code [two] three.", "Four five:", "- Six.", "- Seven eight."]


@pytest.mark.parametrize(
    "page", [p for p in PAGES if p.is_relative_to(DOCS)] + [ROOT / "README.md"], ids=lambda p: p.name
)
def test_sentences_have_at_most_25_words(page):
    if page.is_relative_to(DOCS) and page.relative_to(DOCS).as_posix() in LONG_SENTENCES:
        pytest.skip("some sentences of this page are longer still")
    assert [s for s in sentences(page.read_text("utf-8")) if len(s.split()) > MOST_WORDS] == []


@pytest.mark.parametrize("page", sorted((DOCS / "methods").glob("*.md")), ids=lambda p: p.name)
def test_the_page_of_a_method_begins_with_a_command(page):
    before = page.read_text("utf-8").split("\n```bash\nwhywrong ", 1)[0]
    assert len(before.split()) < 40, "a reader who only wants the command must not look for it"
