"""What a page says and how it is built, in lines of text: without styles, class names, pixels and versions."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

from PIL import Image

LINES = {
    "h1", "h2", "h3", "h4", "h5", "p", "li", "dt", "dd", "tr", "caption", "figcaption", "label", "option", "summary",
    "legend", "button", "title", "a", "svg",
}  # fmt: skip
CELLS = {"td", "th", "text"}  # in one line with their neighbours
PLACES = {"section", "article", "nav", "form", "fieldset", "details", "figure", "table"}
SILENT = {"script", "style"}


class Outline(HTMLParser):
    """One line for each element that has text, picture or choice of its own; places indent what they hold."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.depth = 0
        self.tag, self.text = "", ""
        self.silent = False

    def flush(self, tag: str = "") -> None:
        text = " ".join(self.text.split())
        if text:
            self.lines.append(f"{'  ' * self.depth}{self.tag + ': ' if self.tag else ''}{text}")
        self.tag, self.text = tag, ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.silent = tag in SILENT
        if tag in PLACES:
            self.flush()
            name = given.get("id") or given.get("aria-label", "")
            self.lines.append(f"{'  ' * self.depth}<{tag}{' ' + name if name else ''}>")
            self.depth += 1
        elif tag in LINES and not (tag in ("p", "a") and self.tag == "tr"):
            self.flush(tag)
            if tag == "svg":
                self.text = f"[{given.get('viewbox')} {given.get('aria-label', '')}]"
        elif tag in CELLS:
            self.text += " | " if self.text.strip() else ""
        elif tag == "input":
            self.flush()
            state = " checked" if "checked" in given else ""
            self.text = f"[{given.get('type')} {given.get('aria-label', '')}{state}]"
        elif tag == "span" and given.get("role") == "img":
            self.flush()
            self.text = f"[picture {given['aria-label']}]"
            self.flush()
        elif tag == "img":
            self.flush()
            self.text = f"[img {_size(given['src'])} {given['alt']}]"
            self.flush()

    def handle_endtag(self, tag: str) -> None:
        self.silent = False
        if tag in PLACES:
            self.flush()
            self.depth -= 1
        elif tag in LINES and not (tag in ("p", "a") and self.tag == "tr"):
            self.flush()

    def handle_data(self, data: str) -> None:
        if not self.silent:
            self.text += data


def outline(page: Path) -> str:
    """The lines of a page; what depends on the version of this package is left out."""
    parser = Outline()
    parser.feed(page.read_text(encoding="utf-8"))
    parser.flush()
    return re.sub(r"(whywrong) \d[\w.+]*", r"\1 VERSION", "\n".join(parser.lines).replace("\u00a0", " ")) + "\n"


def _size(address: str) -> str:
    data = base64.b64decode(address.partition("base64,")[2])
    return "×".join(map(str, Image.open(io.BytesIO(data)).size))
