"""Numbers and sentences beside the report."""

from pathlib import Path

import pytest
from finished_runs import metrics

from aeprobe_tools.report.comparison import fitting, wilson
from aeprobe_tools.results.stage_run import StageRun


def test_wilson_interval() -> None:
    assert wilson(0, 10) == pytest.approx((0.0, 0.27753), abs=1e-5)
    assert wilson(5, 10) == pytest.approx((0.23659, 0.76341), abs=1e-5)
    assert wilson(9292, 10000) == pytest.approx((0.92400, 0.93407), abs=1e-5)


def fit_of(stage: str, **last: float) -> str:
    of = metrics(stage)
    of["epochs"][-2] |= {"val/loss": last.pop("before", of["epochs"][-2]["val/loss"])}
    of["final"] |= {key.replace("_", "/"): value for key, value in last.items()}
    of["epochs"][-1] |= of["final"]
    return fitting([StageRun(Path("run"), of)])


def test_fitting_says_what_the_gap_says() -> None:
    assert fit_of("autoencoder", train_loss=0.004, val_loss=0.006).startswith(
        "It overfits: the validation loss is 0.0060, the training loss 0.0040."
    )
    linear = fit_of("autoencoder", train_loss=0.019, val_loss=0.0188)
    assert linear.startswith("It underfits rather than overfits")
    assert "PCA with 30 components reaches 0.0177" in linear
    falling = fit_of("classifier", train_loss=0.25, val_loss=0.25, before=0.26)
    assert "still fell by 3.8% at the end" in falling
    assert fit_of("classifier", train_loss=0.25, val_loss=0.25, before=0.2501).startswith("No sign of over- or")
