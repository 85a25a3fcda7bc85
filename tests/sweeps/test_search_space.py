"""What a search draws can be run, and what it is chosen by is not the test set."""

from pathlib import Path
from typing import Any

import pytest
from conftest import REPO, metrics, train
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from images import write_folder

from aeprobe.errors import AeprobeError
from aeprobe_tools.results.table import main
from aeprobe_tools.sweeps.space import Choice
from aeprobe_tools.wording import said_of_order

optuna = pytest.importorskip("optuna")
TINY = (
    *("stage=autoencoder", "data=folder", "data.root=folder", "data.val_size=50", "trainer.figures=false"),
    *("autoencoder.network.widths=[784,30]", "autoencoder.max_epochs=1"),
)
NOTHING_HELD_OUT = [one.replace("val_size=50", "val_size=0") for one in TINY]
NODES = ("augmentation@autoencoder.augmentation=shift", "corruption@autoencoder.corruption=dropout")
STUDY = Path("outputs", "sweeps", "s", "study.db")


def study(cwd: Path) -> Any:
    return optuna.load_study(study_name="aeprobe", storage=f"sqlite:///{cwd / STUDY}")


def choice(typed: str) -> Choice:
    """A key that varies, beside the default configuration."""
    with initialize_config_dir(str(REPO / "conf"), version_base="1.3"):
        config = compose("config", overrides=["scheduler@autoencoder.scheduler=cosine", *NODES])
    return Choice(OverridesParser.create().parse_override(typed), config)


@pytest.mark.parametrize(
    ("typed", "low", "high", "logarithmic"),
    [
        ("autoencoder.batch_size=interval(50,200)", 50, 200, False),
        ("autoencoder.batch_size=interval(5e1,2e2)", 50, 200, False),
        ("classifier.max_epochs=tag(log,interval(1.0,1e2))", 1, 100, True),
        ("++seed=interval(0,9)", 0, 9, False),
        ("autoencoder.augmentation.epochs=interval(1,4)", 1, 4, False),  # int | None
        ("trainer.limit_train_batches=interval(5,10)", 5, 10, False),  # int | float: batches, no share
        ("autoencoder.scheduler.T_max=interval(10,20)", 10, 20, False),  # by the signature of its class
        ("autoencoder.optimizer.lr=int(interval(1,3))", 1, 3, False),
    ],
)
def test_a_whole_number_is_drawn_for_a_key_that_is_one(typed: str, low: int, high: int, logarithmic: bool) -> None:
    drawn = choice(typed)
    assert drawn.distribution() == optuna.distributions.IntDistribution(low, high, log=logarithmic)
    assert drawn.values == [str(low), str(high)]


@pytest.mark.parametrize(
    ("typed", "low", "high"),
    [
        ("autoencoder.optimizer.lr=interval(1,2)", 1.0, 2.0),
        ("autoencoder.corruption.p=interval(0,0.5)", 0.0, 0.5),
        ("trainer.limit_train_batches=interval(0.1,1)", 0.1, 1.0),
        ("autoencoder.scheduler.eta_min=interval(0,1)", 0.0, 1.0),
    ],
)
def test_any_number_is_drawn_for_another_key(typed: str, low: float, high: float) -> None:
    assert choice(typed).distribution() == optuna.distributions.FloatDistribution(low, high)


def test_what_is_typed_of_a_drawn_number_stays_within_its_interval() -> None:
    share = choice("autoencoder.corruption.p=interval(0,0.99999)")
    assert share.text(0.123456) == "0.1235"
    assert share.text(0.999987) == "0.999987"  # not 1, which is refused
    assert share.values == ["0.0", "0.99999"]
    assert choice("trainer.limit_train_batches=interval(0.1,1)").text(0.999987) == "1.0"  # all, not one batch


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("autoencoder.optimizer.lr=interval(2,1)", "from a smaller to a greater number"),
        ("autoencoder.optimizer.lr=tag(log,interval(0,1))", "log from above 0"),
    ],
)
def test_an_interval_that_holds_no_such_number_is_refused(typed: str, said: str) -> None:
    with pytest.raises(AeprobeError) as refused:
        choice(typed)
    assert str(refused.value).startswith(typed)
    assert said in str(refused.value)


@pytest.mark.slow
def test_a_search_over_whole_numbers_runs_and_goes_on(tmp_path: Path) -> None:
    write_folder(tmp_path / "folder")
    asked = ("-m", "search=optuna", "sweep=s", *TINY, "autoencoder.batch_size=tag(log,interval(5e1,2e2))")
    done = train(*asked, "hydra.sweeper.n_trials=3", cwd=tmp_path)
    assert done.status == 0, done.err
    sizes = [trial.params["autoencoder.batch_size"] for trial in study(tmp_path).trials]
    assert len({*sizes}) > 1
    assert all(isinstance(size, int) and 50 <= size <= 200 for size in sizes)
    used = [metrics(path.parent)["config"]["autoencoder"] for path in tmp_path.rglob("metrics.json")]
    assert sorted(config["batch_size"] for config in used) == sorted(sizes)
    more = train(*asked, "hydra.sweeper.n_trials=4", cwd=tmp_path)
    assert more.status == 0, more.err
    assert len(study(tmp_path).trials) == 4


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("autoencoder.batch_size=interval(0,200)", "autoencoder.batch_size=0: must be at least 1"),
        ("autoencoder.batch_size=50,abc", "autoencoder.batch_size=abc: Value 'abc' of type 'str'"),
        ("autoencoder.optimizer.lr=1e-3,-1", "autoencoder.optimizer.lr=-1: must be a finite number"),
        ("objective=val/loss,val/accuracy", "chosen by classifier val/accuracy and classifier val/loss"),
    ],
)
def test_a_value_that_cannot_run_is_refused_before_anything_is_stored(
    tmp_path: Path, typed: str, said: str
) -> None:
    done = train("-m", "search=optuna", "sweep=s", typed, cwd=tmp_path)
    assert done.status == 1
    (line,) = done.err.splitlines()
    assert said in line
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(
    "asked",
    [
        "search=optuna;experiment=report",
        "search=grid;experiment=report_softmax;objective=null",
        "search=optuna;data.val_size=interval(0,100);stage=autoencoder",
    ],
)
def test_a_search_that_would_choose_by_the_test_set_is_refused(tmp_path: Path, asked: str) -> None:
    done = train("-m", *asked.split(";"), cwd=tmp_path)
    assert done.status == 1
    (line,) = done.err.splitlines()
    assert line.startswith("error: data.val_size=0: the search would choose by the test set, which val/")
    assert line.endswith(("or give objective=train/loss", "or give objective=train/accuracy"))
    assert not (tmp_path / "outputs").exists()


@pytest.mark.slow
def test_the_encoder_of_a_search_over_stage_2_decides_what_is_held_out(tmp_path: Path) -> None:
    """The split is the checkpoint's, whatever the configuration says."""
    write_folder(tmp_path / "folder")
    assert train(*NOTHING_HELD_OUT, "hydra.run.dir=encoder", cwd=tmp_path).status == 0
    asked = ("-m", "search=optuna", "sweep=s", "stage=classifier", "ckpt=encoder", "classifier.max_epochs=1")
    asked += ("trainer.figures=false", "hydra.sweeper.n_trials=1", "hydra.sweeper.params=null", "seed=0,1")
    refused = train(*asked, cwd=tmp_path)
    assert refused.status == 1
    (line,) = refused.err.splitlines()
    assert "the encoder in ckpt=encoder was trained with data.val_size=0: the search would choose by" in line
    assert not (tmp_path / "outputs").exists()
    allowed = train(*asked, "objective=train/accuracy", cwd=tmp_path)
    assert allowed.status == 0, allowed.err
    (trial,) = study(tmp_path).trials
    (run,) = (metrics(path.parent) for path in (tmp_path / "outputs").rglob("metrics.json"))
    assert trial.value == run["final"]["train/accuracy"]


@pytest.mark.slow
def test_seeds_of_the_report_are_no_search_and_their_table_says_what_it_is_sorted_by(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_folder(tmp_path / "folder")
    done = train("-m", "sweep=s", *NOTHING_HELD_OUT, "seed=0,1", cwd=tmp_path)
    assert done.status == 0, done.err
    runs = str(tmp_path / "outputs")
    said = "val/loss of all runs was measured on the test set (data.val_size=0)"
    for form in ("--markdown", "--by=seed"):
        assert main([runs, form]) == 0
        assert capsys.readouterr().out.count(said) == 1
    for form in ("--csv", "--json"):
        assert main([runs, form]) == 0
        shown = capsys.readouterr()
        assert said not in shown.out
        assert said in shown.err
    assert main([runs, "--metric", "train/loss"]) == 0
    assert "test set" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("metric", "held_out", "said"),
    [
        ("val/loss", [0, 0], "val/loss of all runs was"),
        ("classifier val/accuracy", [0, 5000, None], "classifier val/accuracy of 1 of 3 runs was"),
        ("val/loss", [5000, None], None),
        ("train/loss", [0], None),
        ("test/loss", [0], None),  # that is said by its name
        ("", [], None),
    ],
)
def test_what_is_said_of_an_order(metric: str, held_out: list[int | None], said: str | None) -> None:
    found = said_of_order(metric, held_out)
    assert found is None if said is None else (found or "").startswith(said)


@pytest.mark.parametrize(
    ("asked", "keys", "better"),
    [
        ("search=optuna;stage=autoencoder;autoencoder.loss=mse,bce", "autoencoder.loss", "objective=val/mse"),
        ("search=grid;stage=autoencoder;autoencoder.loss=mse,bce", "autoencoder.loss", "objective=val/mse"),
        (
            "search=optuna;autoencoder=variational;autoencoder.beta=range(1,3);objective=autoencoder val/loss",
            "autoencoder.beta",
            "'objective=\"autoencoder val/mse\"'",
        ),
        (
            "search=optuna;classifier.class_weights=null,balanced;objective=classifier val/loss",
            "classifier.class_weights",
            "'objective=\"classifier val/accuracy\"'",
        ),
    ],
)
def test_a_search_that_would_choose_by_the_scale_of_a_loss_is_refused(
    tmp_path: Path, asked: str, keys: str, better: str
) -> None:
    done = train("-m", "sweep=s", *asked.split(";"), cwd=tmp_path)
    assert done.status == 1
    (line,) = done.err.splitlines()
    assert line.startswith(f"error: {keys}: ")
    assert line.endswith(
        f" has another scale for each value, and the search would choose by the scale; give {better}"
    )
    assert not (tmp_path / "outputs").exists()


@pytest.mark.slow
def test_a_search_over_losses_by_the_mse_sees_that_of_each(tmp_path: Path) -> None:
    """Also where the loss is the MSE itself; a typed dictionary takes the place of what the preset varies."""
    write_folder(tmp_path / "folder")
    asked = ("-m", "search=optuna", "sweep=s", *TINY, "hydra.sweeper.n_trials=4", "objective=val/mse")
    done = train(*asked, "autoencoder.loss=mse,bce", "++autoencoder.optimizer={lr: 0.002}",
                 "autoencoder.batch_size=50", cwd=tmp_path)  # fmt: skip
    assert done.status == 0, done.err
    runs = [metrics(path.parent) for path in (tmp_path / "outputs").rglob("metrics.json")]
    assert {run["config"]["autoencoder"]["optimizer"]["lr"] for run in runs} == {0.002}
    measured = {run["config"]["autoencoder"]["loss"]: run["final"]["val/mse"] for run in runs}
    assert {trial.params["autoencoder.loss"]: trial.value for trial in study(tmp_path).trials} == measured
