"""Curves over epochs of several seeds: their mean, a band of one standard deviation, and the report's points."""

import io
from collections.abc import Sequence

from aeprobe.figures.charts import DARK, ORANGE, new_axes, whole_numbers
from aeprobe.report.runs import across
from aeprobe.runs.stage_run import Picture, StageRun


def band(
    runs: Sequence[StageRun], key: str, title: str, scale: float = 1, report: Sequence[float] = ()
) -> Picture:
    """Draws one number of the epochs' rows over several runs of a stage.

    Args:
        runs: two or more.
        key: such as "val/loss".
        title: a heading.
        scale: multiplies the numbers, so that they stand on the report's scale.
        report: the report's numbers of epochs 1, 2, …
    """
    points = list(enumerate(across(runs, key), start=1))
    known = [(epoch, point) for epoch, point in points if point]
    epochs = [epoch for epoch, _ in known]
    mean = [scale * point.mean for _, point in known]
    sd = [scale * point.sd for _, point in known]
    figure, axes = new_axes(title, "epoch", "")
    low, high = ([m + sign * s for m, s in zip(mean, sd, strict=True)] for sign in (-1, 1))
    axes.fill_between(epochs, low, high, color=DARK, alpha=0.22, lw=0, label="± 1 standard deviation")
    axes.plot(epochs, mean, "o-", color=DARK, ms=4, label=f"mean of {len(runs)} runs")
    if report:
        axes.plot(range(1, len(report) + 1), report, "s--", color=ORANGE, ms=4, label="the report")
    axes.xaxis.set_major_locator(whole_numbers())
    axes.legend(frameon=False)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    ends = [f"{mean[i]:.4g} ± {sd[i]:.2g} in epoch {epochs[i]}" for i in (0, -1)] if known else ["nothing yet"]
    alt = f"Mean and standard deviation over {len(runs)} runs: {' and '.join(dict.fromkeys(ends))}."
    return Picture(content.getvalue(), title, alt, {"epoch": epochs, "mean": mean, "sd": sd})
