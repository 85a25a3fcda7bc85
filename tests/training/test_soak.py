"""Killed at random moments, and resumed each time: the end has the bits of the run that nothing interrupted."""

import random
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import FIGURES, REPO, train
from same_runs import SETTINGS, assert_equal_runs

pytestmark = pytest.mark.soak
KILLS = 60
LANES = 2  # runs at the same time, of one thread each
SIGNALS = [signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT]
# A kill waits for one of these to appear or to change, then for a part of a second; None: for a time only.
MOMENTS = (
    None,
    None,
    None,
    ".hydra",
    "metrics.json",
    "train.log",
    "checkpoints/.last.ckpt.*",
    "checkpoints/.best.ckpt.*",
    "checkpoints/last.ckpt",
    ".metrics.json.*",
    "tensorboard/events.*",
)


def changed(run: Path, pattern: str, since: float) -> bool:
    """Whether a file of either stage was written since then."""
    for file in run.glob(f"*/{pattern}"):
        try:
            if file.stat().st_mtime >= since:
                return True
        except FileNotFoundError:  # a temporary file
            return True
    return False


def attempt(run: Path, root: Path, chance: random.Random) -> tuple[int | None, str]:
    """Begins or resumes the run and kills it. Returns the signal (None: it ended before) and what it printed."""
    begun = any(run.glob("*/.hydra/config.yaml"))
    typed = (
        [f"resume={run}"]
        if begun
        else [*SETTINGS, "trainer.threads=1", f"data.root={root}", f"hydra.run.dir={run}"]
    )
    process = subprocess.Popen(
        [sys.executable, str(REPO / "train.py"), *typed],
        cwd=run.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    since, moment, number = time.time(), chance.choice(MOMENTS), chance.choice(SIGNALS)
    delay = (
        chance.uniform(0, 8)
        if moment is None
        else chance.choice([0, chance.uniform(0, 0.05), chance.uniform(0, 2)])
    )
    while moment and process.poll() is None and not changed(run, moment, since):
        time.sleep(0.001)
    try:
        out, _ = process.communicate(timeout=delay)
    except subprocess.TimeoutExpired:
        process.send_signal(number)
        out, _ = process.communicate(timeout=60)
    words = f"{number.name} {delay:.3f} s after {moment or 'the start'}: exit {process.returncode}\n{out}"
    if process.returncode == 0:
        return None, words
    # Before our own handlers are in place a signal ends the process in the way of the system.
    expected = {signal.SIGKILL: (-9,), signal.SIGTERM: (130, -15), signal.SIGINT: (130, -2)}[number]
    assert process.returncode in expected, words
    assert "Traceback" not in out, words
    return number, words


def chain(base: Path, root: Path, whole: Path, chance: random.Random, kills: list[int]) -> None:
    """Runs that are killed until there were enough kills, each compared at its end."""
    while len(kills) < KILLS:
        run, log = base / f"run{chance.randrange(10**9)}", []
        try:
            while True:
                killed, words = attempt(run, root, chance)
                log.append(words)
                if killed is None:
                    break
                kills.append(killed)
            assert_equal_runs(whole, run)
        except BaseException:
            FIGURES["results lost"] += 1
            print(*log, sep="\n")
            raise
        FIGURES["runs that ended with the same bits"] += 1
        shutil.rmtree(run)


def test_kills_at_random_moments(tmp_path: Path, root: Path, request: pytest.FixtureRequest) -> None:
    seed = request.config.getoption("--hypothesis-seed") or "0"
    whole = tmp_path / "whole"
    done = train(*SETTINGS, "trainer.threads=1", f"data.root={root}", f"hydra.run.dir={whole}", cwd=tmp_path)
    assert done.status == 0, done.err
    kills: list[int] = []
    FIGURES["results lost"] += 0
    with ThreadPoolExecutor(LANES) as pool:
        chances = [random.Random(f"{seed} {lane}") for lane in range(LANES)]
        ends = [pool.submit(chain, tmp_path, root, whole, chance, kills) for chance in chances]
    FIGURES["kills survived"] += len(kills)
    for number in sorted({*SIGNALS}):
        FIGURES[f"of them by {number.name}"] += kills.count(number)
    for end in ends:
        end.result()
