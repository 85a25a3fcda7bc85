"""The page in a real browser, from disk, on a desktop's and a phone's width."""

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from browser import CONTRASTS, HEIGHT, IN_BROWSER, Opened, chromium
from finished_runs import metrics, write_run, write_stage

from aeprobe_tools.report.page import write_report

pytestmark = IN_BROWSER


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


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
    assert opened.outside() == []


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
    for said in ("0.0205", "92.92", "about 0.02", "0:01:22", "python train.py experiment=report"):
        box = page.get_by_text(re.compile(re.escape(said))).first.bounding_box()
        assert box is not None
        assert box["y"] + box["height"] <= HEIGHT, said
