"""A page as a person reads it."""

import re
from html import unescape
from pathlib import Path

from aeprobe_tools.report import page as report


def text_of(html: str) -> str:
    """The words of some HTML."""
    return re.sub(r"\s+", " ", unescape(re.sub(r"<style>.*?</style>|<[^>]*>", "", html, flags=re.DOTALL)))


def inside(tags: str, html: str) -> list[str]:
    """The content of each such element, in order."""
    return [found[2] for found in re.finditer(rf"<({tags})\b[^>]*>(.*?)</\1>", html, re.DOTALL)]


class Page:
    """Tables by caption, pictures, captions, and all text."""

    def __init__(self, file: Path) -> None:
        self.source = file.read_text()
        self.text = text_of(self.source)
        self.captions = [text_of(caption).strip() for caption in inside("caption|figcaption", self.source)]
        self.pictures = [
            {name: unescape(value) for name, value in re.findall(r'([\w-]+)="([^"]*)"', tag)}
            for tag in re.findall(r"<img\b[^>]*>", self.source)
        ]
        self.tables = {
            text_of(inside("caption", table)[0]).strip(): [
                [text_of(cell).strip() for cell in inside("th|td", row)] for row in inside("tr", table)
            ]
            for table in inside("table", self.source)
            if "<caption" in table
        }

    def table(self, begin: str) -> dict[str, list[str]]:
        rows = next(rows for caption, rows in self.tables.items() if caption.startswith(begin))
        return {row[0]: row[1:] for row in rows}


def made(*runs: Path) -> Page:
    return Page(report.write_report(runs))
