"""The numbers of runs beside the report's and those of five seeds on file, and what they say in a sentence."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from aeprobe.config.schema import fingerprint
from aeprobe_tools.results.stage_run import Spread, StageRun, spread
from aeprobe_tools.wording import NONE, NOTHING, PERCENT, number, percent

REPORT = Path(__file__).parents[1] / "assets" / "report.yaml"
RANGES = Path(__file__).parents[1] / "assets" / "ranges.yaml"  # bench/ranges.py writes it
GAP = 0.05  # of the training loss: a larger one between validation and training is called a gap
FALL = 0.01  # of the validation loss in the last epoch: a larger one means that training was not at its end
NAMES = {"val/mse": "Validation MSE", "test/mse": "Test MSE", "test/accuracy": "Test accuracy"}
Form = Callable[[float], str]


@dataclass(frozen=True)
class Comparison:
    """A row of the first table as text; `kind` is "inside" or "outside" of the range of seeds, or "unknown"."""

    name: str
    ours: str
    report: str
    range: str
    kind: str
    verdict: str


@cache
def report() -> dict[str, Any]:
    """Return the report's numbers, from assets/report.yaml."""
    content: dict[str, Any] = yaml.safe_load(REPORT.read_text())
    return content


def ranges() -> dict[str, Any]:
    """Return the ranges of final metrics over seeds, by the name of their experiment and by stage."""
    content: dict[str, Any] = yaml.safe_load(RANGES.read_text())
    return content


def range_of(run: StageRun, key: str) -> dict[str, Any] | None:
    """Return the range of a final metric over the `n` seeds of a run's experiment; None: none is on file."""
    if run.stage == "classifier" and run.setting("stage") != "all":
        return None  # the configuration does not say how its encoder was trained
    settings = fingerprint(run.settings())
    of_stage = (stages[run.stage] for stages in ranges().values() if run.stage in stages)
    alike = (known for known in of_stage if known["settings"] == settings and key in known["final"])
    return next(({"n": known["n"], **known["final"][key]} for known in alike), None)


def wilson(correct: float, total: int, z: float = 1.959964) -> tuple[float, float]:
    """Return the 95 % Wilson interval of a fraction, correct / total, in [0, 1].

    >>> [round(end, 4) for end in wilson(9300, 10000)]
    [0.9248, 0.9348]
    """
    share, weight = correct / total, z * z / total
    half = math.sqrt(share * (1 - share) * weight + weight * weight / 4)
    low, high = ((share + weight / 2 + sign * half) / (1 + weight) for sign in (-1, 1))
    return max(low, 0.0), min(high, 1.0)


def shown(value: Spread | None, form: Form, runs: int) -> str:
    """Write a number, or mean ± standard deviation for several runs, with its n if not all have it."""
    if value is None:
        return NONE
    if runs == 1:
        return form(value.mean)
    mean = form(value.mean).removesuffix(PERCENT)  # which stands once, behind the deviation
    fewer = f" (n\u00a0=\u00a0{value.n})" if value.n < runs else ""
    return f"{mean} ±\u00a0{form(value.sd)}{fewer}"


def form_of(key: str) -> Form:
    """Return the function that writes a metric's numbers."""
    return percent if "accuracy" in key else number


def final(runs: Sequence[StageRun], key: str) -> str:
    """Write a final number of the runs."""
    return shown(spread(run.last(key) for run in runs), form_of(key), len(runs))


def compare(runs: Sequence[StageRun], key: str) -> Comparison | None:
    """Compare a final number of one stage's runs with the report's and the seeds'; None if they have none."""
    ours = spread(run.last(key) for run in runs)
    if ours is None:
        return None
    form, known = form_of(key), range_of(runs[0], key)
    low, high = (known["min"], known["max"]) if known else (ours.mean, ours.mean)
    kind = "unknown" if known is None else "inside" if low <= ours.mean <= high else "outside"
    verdict = [f"{kind} the range of {known['n']} seeds of this experiment"] if known else []
    reported = report()[runs[0].stage].get(key) if of_the_report(runs[0]) else None
    if reported:
        agrees = "agrees" if reported["low"] <= high and low <= reported["high"] else "does not agree"
        subject = "that range" if known else "this number"
        verdict.append(f"the report's {reported['text']} ({reported['rounded']}) {agrees} with {subject}")
        verdict += [] if known else ["no range of seeds of this experiment is on file"]
    theirs = reported["text"] if reported else NONE
    seeds = f"{form(low)} to {form(high)}" if known else NONE
    return Comparison(NAMES[key], final(runs, key), theirs, seeds, kind, "; ".join(verdict))


def fitting(runs: Sequence[StageRun]) -> str:
    """Return a sentence on over- and underfitting, from the final gap between training and validation."""
    train, val = (spread(run.last(f"{split}/loss") for run in runs) for split in ("train", "val"))
    if train is None or val is None:
        return "Over- or underfitting is unknown: that takes a training and a validation loss."
    numbers = f"the validation loss is {number(val.mean)}, the training loss {number(train.mean)}"
    if val.mean > max((1 + GAP) * train.mean, NOTHING):
        return f"It overfits: {numbers}."
    linear, under = report()["references"][0], f"It underfits rather than overfits: {numbers}"
    if beside_references(runs[0]) and loss_of_the_report(runs[0]) and val.mean > linear["mse"]:
        return f"{under}, and {linear['name']} reaches {number(linear['mse'])}."
    fall = spread(map(_last_fall, runs))
    if fall and fall.mean > FALL and val.mean > NOTHING:
        return f"{under}, and still fell by {fall.mean:.1%} at the end, so that more training would help."
    return f"No sign of over- or underfitting: {numbers}."


def beside_references(run: StageRun) -> bool:
    """Tell whether a run's MSE stands beside others of codes of 30 numbers."""
    return run.stage == "autoencoder" and of_the_report(run) and run.layers("encoder").endswith("-30")


def of_the_report(run: StageRun) -> bool:
    """Tell whether a run is of the report's images: only then do its results stand beside the report's."""
    return run.dataset == str(report()["dataset"])


def loss_of_the_report(run: StageRun) -> bool:
    """Tell whether a run minimised what the report minimised, so that the losses stand side by side."""
    return run.metrics.get("loss") in ("MSE per pixel", "cross-entropy")


def _last_fall(run: StageRun) -> float | None:
    """Return the share by which the validation loss fell between its last two values."""
    losses = [loss for loss in run.series("val/loss") if loss is not None]
    return 1 - losses[-1] / losses[-2] if len(losses) > 1 and losses[-2] > NOTHING else None
