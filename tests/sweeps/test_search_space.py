"""The values that a search draws, what it is chosen by, and what is refused before anything is stored."""

from pathlib import Path

import pytest
from conftest import composed, train
from hydra.core.override_parser.overrides_parser import OverridesParser

from aeprobe.cli.multirun import require_comparable
from aeprobe.config import objective
from aeprobe.errors import AeprobeError
from hydra_plugins import aeprobe_search as search

optuna = pytest.importorskip("optuna")


def drawn(typed: str) -> optuna.distributions.BaseDistribution:
    return search.distribution(OverridesParser.create().parse_override(typed))


def test_an_interval_is_of_floats_or_of_whole_numbers_as_it_was_typed() -> None:
    sizes = drawn("autoencoder.batch_size=tag(log,int(interval(5e1,2e2)))")
    assert sizes == optuna.distributions.IntDistribution(50, 200, log=True)
    assert search.ends(sizes) == ["50", "200"]
    rates = drawn("autoencoder.optimizer.lr=interval(1,2)")
    assert rates == optuna.distributions.FloatDistribution(1.0, 2.0)
    assert search.ends(rates) == ["1.0", "2.0"]
    assert search.ends(drawn("seed=3,1,3")) == ["3", "1"]


def test_what_is_typed_of_a_drawn_number_stays_within_its_interval() -> None:
    share = drawn("autoencoder.corruption.p=interval(0,0.99999)")
    assert search.text(share, 0.123456) == "0.1235"
    assert search.text(share, 0.999997) == "0.99999"  # not 1, which is refused
    assert search.ends(share) == ["0.0", "0.99999"]
    assert search.text(drawn("trainer.limit_train_batches=interval(0.1,1)"), 0.999987) == "1.0"  # no batch


@pytest.mark.parametrize("interval", ["interval(2,1)", "tag(log,interval(0,1))"])
def test_an_interval_that_holds_no_such_number_is_refused(interval: str) -> None:
    with pytest.raises(AeprobeError, match=r"^autoencoder\.optimizer\.lr=.*: .*`low"):
        drawn(f"autoencoder.optimizer.lr={interval}")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("search=optuna", "train.py -m search=optuna sweep=NAME"),
        ("-m search=optuna objective=test/loss", "objective=test/loss: stage=all reports no such metric"),
        ("-m search=optuna objective=val/loss,val/accuracy", "chosen by classifier val/accuracy and classifier"),
        (
            "-m search=optuna autoencoder.batch_size=int(interval(0,200))",
            "autoencoder.batch_size=0: must be at least 1",
        ),
        ("-m search=grid experiment=report", "val_size=0: the search would choose by the test set, which val/acc"),
        ("-m search=optuna data.val_size=int(interval(0,9)) stage=autoencoder", "or give objective=train/loss"),
        (
            "-m search=optuna autoencoder.loss=mse,bce stage=autoencoder",
            "autoencoder.loss: val/loss has another scale for each value, and the search would choose by the "
            "scale; give objective=val/mse",
        ),
    ],
)
def test_a_search_that_cannot_be_is_refused_in_a_line_before_anything_is_stored(
    tmp_path: Path, asked: str, said: str
) -> None:
    done = train(*asked.split(), cwd=tmp_path)
    assert done.status == 1
    (line,) = done.err.splitlines()
    assert said in line
    assert not (tmp_path / "outputs").exists()


def test_a_later_job_of_a_grid_is_not_compared_by_a_loss_of_another_scale() -> None:
    softmax, plain = "classifier.loss_on=softmax", "classifier.loss_on=logits"
    require_comparable([composed([softmax]), composed([plain])])  # whose objective is the accuracy
    chosen = "objective=classifier val/loss"
    first = composed([softmax, chosen])
    require_comparable([first, composed([softmax, "classifier.batch_size=50", chosen])])
    with pytest.raises(AeprobeError, match=r"classifier.loss_on: .* give 'objective=\"classifier val/accuracy\"'"):
        require_comparable([first, composed([plain, chosen])])


@pytest.mark.parametrize(
    ("name", "stage", "wanted", "worst"),
    [
        (None, "autoencoder", ("autoencoder", "val/loss"), float("inf")),
        (None, "all", ("classifier", "val/accuracy"), float("-inf")),
        ("val/loss", "all", ("classifier", "val/loss"), float("inf")),
        ("autoencoder val/loss", "all", ("autoencoder", "val/loss"), float("inf")),
    ],
)
def test_the_objective_is_a_validation_metric_with_a_direction(
    name: str | None, stage: str, wanted: tuple[str, str], worst: float
) -> None:
    config = {"objective": name, "stage": stage}
    assert objective.resolve(config) == wanted
    assert objective.value(config, {wanted[0]: {"final": {}}}) == worst  # what a run without it has come to


@pytest.mark.parametrize(("name", "stage"), [("test/accuracy", "all"), ("val/accuracy", "autoencoder")])
def test_an_objective_that_nobody_reports_is_refused(name: str, stage: str) -> None:
    with pytest.raises(AeprobeError, match=r"reports no such metric; there are .*val/loss"):
        objective.resolve({"objective": name, "stage": stage})
