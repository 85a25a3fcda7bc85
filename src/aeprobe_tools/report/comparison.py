"""The numbers of runs beside the report's, and what they say in a sentence."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from aeprobe_tools.results import ranges
from aeprobe_tools.results.seeds import Spread, spread
from aeprobe_tools.results.stage_run import StageRun
from aeprobe_tools.wording import NONE, NOTHING, PERCENT, beside, number, percent

FILE = Path(__file__).parents[1] / "assets" / "report.yaml"
GAP = 0.05  # of the training loss: a larger one between validation and training is called a gap
FALL = 0.01  # of the validation loss in the last epoch: a larger one means that training was not at its end
NAMES = {"val/mse": "Validation MSE", "test/mse": "Test MSE", "test/accuracy": "Test accuracy"}
Form = Callable[[float], str]


@dataclass(frozen=True)
class Comparison:
    """A row of the first table: our number, the report's and the range of the seeds, as text.

    Attributes:
        kind: "inside" or "outside" of the range of the seeds; "unknown" where none is on file.
        verdict: a sentence without its full stop; empty where there is nothing to hold the number against.
    """

    name: str
    ours: str
    report: str
    range: str
    kind: str
    verdict: str


@cache
def report() -> dict[str, Any]:
    """Return the report's numbers, from assets/report.yaml."""
    content: dict[str, Any] = yaml.safe_load(FILE.read_text())
    return content


def wilson(correct: float, total: int, z: float = 1.959964) -> tuple[float, float]:
    """Return the 95 % Wilson interval of a fraction, correct / total, in [0, 1].

    >>> [round(end, 4) for end in wilson(9300, 10000)]
    [0.9248, 0.9348]
    """
    share = correct / total
    centre = share + z * z / (2 * total)
    half = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    low, high = (centre - half) / (1 + z * z / total), (centre + half) / (1 + z * z / total)
    return max(low, 0.0), min(high, 1.0)


def shown(value: Spread | None, form: Form, runs: int) -> str:
    """Write a number, or mean ± standard deviation for several runs, with its n if not all have it."""
    if value is None:
        return NONE
    if runs == 1:
        return form(value.mean)
    mean = form(value.mean).removesuffix(PERCENT)  # which stands once, behind the deviation
    return f"{mean} ±\u00a0{form(value.sd)}{fewer(value, runs)}"


def fewer(value: Spread, runs: int) -> str:
    """Return a remark if a number is known of some of the runs only."""
    return f" (n\u00a0=\u00a0{value.n})" if value.n < runs else ""


def form_of(key: str) -> Form:
    """Return the function that writes a metric's numbers."""
    return percent if key.endswith("accuracy") else number


def compare(runs: Sequence[StageRun], key: str) -> Comparison | None:
    """Compare a final number of one stage's runs with the report's and the seeds'; None if they have none."""
    ours = spread(run.last(key) for run in runs)
    if ours is None:
        return None
    known = ranges.find(runs[0], key)
    reported = report()[runs[0].stage].get(key) if of_the_report(runs[0]) else None
    form, kind, verdict = form_of(key), "unknown", ""
    if known:
        kind = "inside" if known["min"] <= ours.mean <= known["max"] else "outside"
        verdict = f"{kind} the range of {known['n']} seeds of this experiment"
    if reported:
        beside = _beside(ours.mean, reported, known)
        verdict = f"{verdict}; {beside}" if known else f"{beside}; no range of seeds of this experiment is on file"
    return Comparison(
        name=NAMES[key],
        ours=shown(ours, form, len(runs)),
        report=reported["text"] if reported else NONE,
        range=f"{form(known['min'])} to {form(known['max'])}" if known else NONE,
        kind=kind,
        verdict=verdict,
    )


def _beside(ours: float, reported: dict[str, Any], known: dict[str, Any] | None) -> str:
    """Compare the report's number, as exactly as it is printed, with ours or with the range of ours."""
    low, high = reported["value"] - reported["within"], reported["value"] + reported["within"]
    if known:
        inside = low <= known["max"] and high >= known["min"]
        return f"the report's {reported['text']} is {'inside' if inside else 'outside'} it"
    if low <= ours <= high:
        return f"agrees with the report's {reported['text']}, as far as that is printed"
    return f"{'above' if ours > high else 'below'} the report's {reported['text']}"


def fitting(runs: Sequence[StageRun]) -> str:
    """Return a sentence on over- and underfitting, from the final gap between training and validation."""
    train, val = (spread(run.last(f"{split}/loss") for run in runs) for split in ("train", "val"))
    if train is None or val is None:
        return "Over- or underfitting is unknown: that takes a training and a validation loss."
    falls = [fall for run in runs if (fall := _last_fall(run))]
    fell = spread(share for share, _ in falls)
    gap = beside(val.mean, train.mean, digits=1, words=("below", "as large as", "above"))
    numbers = f"the validation loss, {number(val.mean)}, is {gap} the training loss, {number(train.mean)}"
    linear = report()["references"][0]
    comparable = runs[0].stage == "autoencoder" and of_the_report(runs[0]) and loss_of_the_report(runs[0])
    comparable = comparable and runs[0].sizes("encoder")[-1:] == ["30"]
    if val.mean > max((1 + GAP) * train.mean, NOTHING):
        return f"It overfits: {numbers}."
    if comparable and val.mean > linear["mse"]:
        return (
            f"It underfits rather than overfits: {numbers}, and a linear projection of the same size, "
            f"{linear['name']}, reaches {number(linear['mse'])}."
        )
    if fell and fell.mean > FALL and val.mean > NOTHING:
        epochs = max(epochs for _, epochs in falls)
        since = "in the last epoch" if epochs == 1 else f"in the last {epochs} epochs"
        return (
            f"It underfits rather than overfits: {numbers}, and still fell by {fell.mean:.1%} {since}, "
            "so that more training would help."
        )
    return f"No sign of over- or underfitting: {numbers}."


def of_the_report(run: StageRun) -> bool:
    """Tell whether a run is of the report's images: only then do its results stand beside the report's."""
    return run.dataset == str(report()["dataset"])


def loss_of_the_report(run: StageRun) -> bool:
    """Tell whether a run minimised what the report minimised, so that the losses stand side by side."""
    return run.loss_name in ("MSE per pixel", "cross-entropy")


def _last_fall(run: StageRun) -> tuple[float, int] | None:
    """Return the share by which the validation loss fell between its last two values, and their distance."""
    losses = [(epoch, loss) for epoch, loss in enumerate(run.series("val/loss")) if loss is not None]
    if len(losses) < 2 or losses[-2][1] <= NOTHING:
        return None
    (before, high), (after, low) = losses[-2:]
    return 1 - low / high, after - before
