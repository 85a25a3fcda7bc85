"""Curves over epochs of several seeds: their mean, a band of one standard deviation, and the report's points."""

import io
from collections.abc import Sequence

import numpy as np

from aeprobe_tools.figures.charts import DARK, ORANGE, new_axes, whole_numbers
from aeprobe_tools.results.seeds import across
from aeprobe_tools.results.stage_run import Picture, StageRun


def band(
    runs: Sequence[StageRun], key: str, title: str, scale: float = 1, report: Sequence[float] = ()
) -> Picture:
    """Draw one number of each epoch, such as "val/loss", over two or more runs of a stage.

    The scale multiplies it, so that it stands beside the report's numbers of epochs 1, 2, …
    """
    known = {epoch: point for epoch, point in enumerate(across(runs, key), start=1) if point}
    epochs = list(known)
    mean = [scale * point.mean for point in known.values()]
    sd = [scale * point.sd for point in known.values()]
    figure, axes = new_axes(title, "epoch", "")
    low, high = np.subtract(mean, sd), np.add(mean, sd)
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
    return Picture(content.getvalue(), title, alt, {})
