"""A page as a person reads it."""

import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

from aeprobe_tools.report import page as report


class Page(HTMLParser):
    """Tables by caption, pictures, captions, and all text."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.pictures: list[dict[str, str | None]] = []
        self.captions: list[str] = []
        self.source = file.read_text()
        self._rows: list[list[str]] = []
        self._open: list[str] | None = None
        self.feed(self.source)
        text = re.sub(r"<style>.*?</style>|<[^>]*>", "", self.source, flags=re.DOTALL)
        self.text = re.sub(r"\s+", " ", unescape(text))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.pictures.append(dict(attributes))
        elif tag == "table":
            self._rows = []
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("th", "td", "caption", "figcaption"):
            self._open = []

    def handle_data(self, data: str) -> None:
        if self._open is not None:
            self._open.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("th", "td", "caption", "figcaption"):
            return
        text = " ".join("".join(self._open or []).split())
        self._open = None
        if tag in ("th", "td"):
            self._rows[-1].append(text)
        else:
            self.captions.append(text)
        if tag == "caption":
            self.tables[text] = self._rows

    def table(self, begin: str) -> dict[str, list[str]]:
        rows = next(rows for caption, rows in self.tables.items() if caption.startswith(begin))
        return {row[0]: row[1:] for row in rows}


def made(*runs: Path) -> Page:
    return Page(report.write_report(runs))
