"""Pages in a real browser: how one is started, what is asked of every page."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not here: install the extra dev")
CHROMIUM = shutil.which("chromium")
IN_BROWSER = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no browser is here: apt-get install chromium"),
]
HEIGHT = 780
PAUSE = 200  # milliseconds after which the playground shows what can wait
SETTLED = """pause => new Promise(done => setTimeout(
  () => requestAnimationFrame(() => requestAnimationFrame(done)), pause
))"""

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

    def __init__(self, browser: Any, file: Path, width: int, **options: Any) -> None:
        self.file, self.width = file, width
        self.failures: list[str] = []
        self.requests: list[str] = []
        self.page = browser.new_page(viewport={"width": width, "height": HEIGHT}, **options)
        self.page.on("console", lambda message: self.failures.append(message.text))
        self.page.on("pageerror", lambda error: self.failures.append(str(error)))
        self.page.on("requestfailed", lambda request: self.failures.append(request.url[:100]))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(file.as_uri())

    def settle(self) -> None:
        """Waits until the page shows what was asked of it, however long a slow machine takes for a frame."""
        self.page.evaluate(SETTLED, PAUSE)

    def outside(self) -> list[str]:
        """The elements that reach beyond the right edge, or the page where it scrolls sideways."""
        page = self.page.evaluate("document.documentElement.scrollWidth")
        right = f"e => e.getBoundingClientRect().right > {self.width}"
        found = f"[...document.querySelectorAll('body *')].filter({right}).map(e => e.outerHTML.slice(0, 80))"
        return [*self.page.evaluate(found), *([f"the page, {page} pixels"] if page > self.width else [])]


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser."""
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()
