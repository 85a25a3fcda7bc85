"""What was evaluated of a finished module, on the page: each evaluation's figures, a table and a sentence."""

from collections.abc import Callable, Sequence
from typing import Any

from aeprobe.report import compression, denoising, probing
from aeprobe.report.tables import Block, Blocks
from aeprobe.runs.stage_run import StageRun

# Of each evaluation: its figures, and what is said of its numbers, which are those of one run.
FIGURES: dict[str, Sequence[str]] = {"denoising": ("denoising", "denoising_psnr")}
WORDS: dict[str, Callable[[dict[str, Any]], Blocks]] = {
    "compression": compression.words,
    "denoising": denoising.words,
    "probe": probing.words,
}


def words(run: StageRun, name: str) -> list[Block]:
    """What is said of an evaluation's numbers; nothing where a file of somebody else's has others."""
    numbers = run.evaluations.get(name)
    try:
        return [*WORDS[name](numbers)] if isinstance(numbers, dict) and name in WORDS else []
    except (ArithmeticError, AttributeError, IndexError, KeyError, TypeError, ValueError):
        return []
