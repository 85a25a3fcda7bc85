"""The page in a real browser, from disk, on a desktop's and a phone's width."""

import re
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from finished_runs import metrics, write_run, write_stage

from aeprobe.report.write import write_report

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not here: install the extra dev")
CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no browser is here: apt-get install chromium"),
]
HEIGHT = 780

# Every element with text of its own, its colour and the first background below it that is not transparent.
CONTRASTS = r"""() => {
  const channels = colour => {
    const [r, g, b, a] = colour.match(/[\d.]+/g).map(Number);
    return [r, g, b, a ?? 1];
  };
  const luminance = colour => {
    const [r, g, b] = channels(colour).slice(0, 3).map(v => v / 255)
      .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const background = element => {
    for (let e = element; e; e = e.parentElement) {
      const colour = getComputedStyle(e).backgroundColor;
      if (channels(colour)[3] > 0) return colour;
    }
    return 'rgb(255, 255, 255)';
  };
  const found = [];
  for (const element of document.querySelectorAll('body *')) {
    const own = [...element.childNodes].some(n => n.nodeType === 3 && n.data.trim());
    for (const pseudo of [null, '::before', '::marker']) {
      const style = getComputedStyle(element, pseudo);
      const written = pseudo === '::marker' ? element.tagName === 'LI'
        : pseudo ? !['none', 'normal'].includes(style.content) : own;
      if (!written || !element.getClientRects().length) continue;
      const [a, b] = [luminance(style.color), luminance(background(element))];
      const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
      found.push([ratio, element.tagName + (pseudo ?? ''), element.textContent.trim().slice(0, 40)]);
    }
  }
  return found;
}"""


class Opened:
    """A page that was opened from disk, with what went wrong meanwhile."""

    def __init__(self, browser: Any, file: Path, width: int) -> None:
        self.file, self.width = file, width
        self.failures: list[str] = []
        self.requests: list[str] = []
        self.page = browser.new_page(viewport={"width": width, "height": HEIGHT})
        self.page.on("console", lambda message: self.failures.append(message.text))
        self.page.on("pageerror", lambda error: self.failures.append(str(error)))
        self.page.on("requestfailed", lambda request: self.failures.append(request.url[:100]))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(file.as_uri())


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module", params=["one", "several", "unfinished"])
def file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of one run, of three seeds in a folder with a long name, and of a run that failed."""
    path = tmp_path_factory.mktemp("page")
    if request.param == "one":
        return write_report([write_run(path / "run", classifier__optimizer__lr=0.01)])
    if request.param == "several":
        path /= "a_long_name" * 20
        return write_report([write_run(path / f"run{seed}", seed, shift=0.001 * seed) for seed in range(3)])
    of = metrics("autoencoder", status="failed", error="ValueError: " + "no" * 200, final={})
    return write_report([write_stage(path / "run", of, figures=False)])


@pytest.fixture(scope="module", params=[1200, 768, 360])
def opened(request: pytest.FixtureRequest, browser: Any, file: Path) -> Iterator[Opened]:
    of_width = Opened(browser, file, request.param)
    yield of_width
    of_width.page.close()


def test_nothing_fails_and_nothing_is_fetched(opened: Opened) -> None:
    assert opened.failures == []
    assert [url for url in opened.requests if not url.startswith("data:")] == [opened.file.as_uri()]


def test_every_picture_has_loaded(opened: Opened) -> None:
    pictures = opened.page.evaluate(
        "[...document.images].map(i => [i.complete, i.naturalWidth, i.naturalHeight, i.width, i.alt.length])"
    )
    assert len(pictures) == opened.file.read_text().count("<img ")
    assert all(complete and min(sizes) > 0 for complete, *sizes in pictures)


def test_no_horizontal_scroll(opened: Opened) -> None:
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= opened.width
    right = f"e => e.getBoundingClientRect().right > {opened.width}"
    outside = f"[...document.querySelectorAll('body *')].filter({right}).map(e => e.outerHTML.slice(0, 80))"
    assert opened.page.evaluate(outside) == []


def test_text_has_contrast(opened: Opened) -> None:
    for media in ("print", "screen"):
        opened.page.emulate_media(media=media)
        contrasts = opened.page.evaluate(CONTRASTS)
        assert len(contrasts) > 100
        assert [found for found in contrasts if found[0] < 4.5] == []


def test_contents_lead_to_headings(opened: Opened) -> None:
    names = "document.querySelectorAll('nav a')"
    links = opened.page.evaluate(f"[...{names}].map(a => [a.hash, a.textContent])")
    heading = "hash => document.querySelector(hash).querySelector('h2').textContent"
    assert len(links) >= 3
    assert [opened.page.evaluate(heading, target) for target, _ in links] == [text for _, text in links]
    levels = opened.page.evaluate("[...document.querySelectorAll('h1, h2, h3')].map(h => +h.tagName[1])")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_first_screen_answers(browser: Any, tmp_path: Path) -> None:
    page = Opened(browser, write_report([write_run(tmp_path / "run")]), 1200).page
    for said in ("0.0205", "92.92", "about 0.02", "82 s", "python train.py experiment=report"):
        box = page.get_by_text(re.compile(re.escape(said))).first.bounding_box()
        assert box is not None
        assert box["y"] + box["height"] <= HEIGHT, said
