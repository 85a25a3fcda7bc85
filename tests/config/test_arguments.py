"""What is typed is what arrives, and what is printed can be typed."""

import shlex
from pathlib import Path

import pytest
from conftest import REPO
from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import example, given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from aeprobe.config.hints import no_such_key
from aeprobe.config.overrides import check_groups, override, require_once, with_homes, with_preset
from aeprobe.errors import AeprobeError

# Any name that a file system takes, and those in which a grammar would see something else.
NAMES = st.one_of(
    st.text(st.characters(exclude_characters="\0"), min_size=1),
    st.text("\"'\\${}[]()=,:~#@!&|<>; \t\nä.-_+*?%01ex", min_size=1, max_size=12),
)


def arrives(argument: str) -> list[object]:
    """The values that the configuration gets: of a list of names, each."""
    parsed = OverridesParser.create().parse_override(argument)
    values = parsed.sweep_iterator() if parsed.is_sweep_override() else [parsed._value]
    return [OmegaConf.create({"x": getattr(value, "text", value)}).x for value in values]


@given(name=NAMES)
@example(name="\\${x}\\")
@example(name="${")
@example(name='a\\"\\\n')
@example(name="1_0")
@example(name="NULL")
def test_a_printed_name_survives_the_shell_hydra_and_omegaconf(name: str) -> None:
    (argument,) = shlex.split(override("sweep", name))
    assert arrives(argument) == [name]


def test_a_tilde_is_the_home_directory_wherever_a_path_is_typed() -> None:
    typed = ["outputs=~/runs", "data.root=~", "sweep=~x", "ckpt=./~"]
    assert with_homes(typed) == [
        f'outputs="{Path.home()}/runs"',
        f'data.root="{Path.home()}"',
        "sweep=~x",
        "ckpt=./~",
    ]


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("callbacks", "did you mean callbacks@autoencoder.callbacks=NAME?"),
        ("trainer.max_epochs", "did you mean autoencoder.max_epochs?"),
        ("lr", "did you mean autoencoder.optimizer.lr?"),
        ("classifier.lr", "did you mean classifier.optimizer.lr?"),
        ("autoencoder.bta", "did you mean autoencoder.beta?"),
        ("autoencoder.evaluation", "did you mean evaluation@autoencoder.evaluations=NAME?"),
        ("dat", "did you mean data=NAME?"),
        ("trainer.acelerator", "did you mean trainer.accelerator?"),
        ("autoencoder.network.chanels", "did you mean autoencoder.network.channels?"),
        ("hydra.run.dirr", "did you mean hydra.run.dir?"),
        ("trainer.foo", "--cfg job"),
    ],
)
def test_an_unknown_key_is_answered_with_the_nearest_of_what_was_composed(key: str, words: str) -> None:
    with initialize_config_dir(str(REPO / "conf"), version_base="1.3"):
        choices = ["autoencoder=variational", "network@autoencoder.network=conv"]
        cfg = compose("config", overrides=choices, return_hydra_config=True)
    assert words in no_such_key(key, cfg)


@pytest.mark.parametrize(
    ("first", "second", "key"),
    [
        (
            "++autoencoder.optimizer={lr: 0.002}",
            "++autoencoder.optimizer={weight_decay: 0.01}",
            "autoencoder.optimizer",
        ),
        ("seed=0,1", "seed=5,6", "seed"),
        ("seed=1", "seed=1", "seed"),
        ("+x=1", "++x=2", "x"),
        ("~trainer.max_time", "~trainer.max_time", "trainer.max_time"),
        ("optimizer@autoencoder.optimizer=adam", "optimizer@autoencoder.optimizer=sgd", "autoencoder.optimizer"),
        ("autoencoder=default", "autoencoder@autoencoder=variational", "autoencoder"),
        ("hydra/launcher=joblib", "hydra/launcher=slurm", "hydra.launcher"),
        ("autoencoder.loss=mse", "++autoencoder.loss={_target_: torch.nn.L1Loss}", "autoencoder.loss"),
        ("data.root=a", "+data.root=b", "data.root"),
        ("resume=a", "resume=b", "resume"),
    ],
)
def test_a_key_that_is_given_twice_is_refused(first: str, second: str, key: str) -> None:
    with pytest.raises(AeprobeError) as refused:
        require_once(["-m", first, "sweep=s", second])
    assert str(refused.value).startswith(f"{first} and {second}: {key} is given twice; give ")


@pytest.mark.parametrize(
    "typed",
    [
        ["++autoencoder.optimizer={lr: 0.5,eps: 0.25}", "autoencoder.optimizer.lr=0.125"],
        ["autoencoder.optimizer.lr=0.125", "++autoencoder.optimizer={lr: 0.5,eps: 0.25}"],
        ["++autoencoder.optimizer={lr: 0.5}", "optimizer@autoencoder.optimizer=sgd"],
        ["~autoencoder.optimizer", "+autoencoder.optimizer={_target_: mine.Own}"],
        ["~experiment", "seed=4"],
    ],
)
def test_what_may_be_given_together_means_the_same_in_a_single_run_and_a_multirun(typed: list[str]) -> None:
    typed = [*typed, "sweep=s"]
    require_once(typed)
    ((job,),) = BasicSweeper.split_arguments(OverridesParser.create().parse_overrides(typed), None)
    with initialize_config_dir(str(REPO / "conf"), version_base="1.3"):
        assert compose("config", overrides=typed) == compose("config", overrides=job)


def test_what_is_typed_takes_the_place_of_what_a_preset_varies() -> None:
    params = {"autoencoder.optimizer.lr": "1,2", "seed": "0,1"}
    for typed in (
        "++autoencoder.optimizer.lr=3",
        "+autoencoder.optimizer.lr=4,5",
        "++autoencoder.optimizer={lr: 3}",
    ):
        assert with_preset(params, [typed]) == ["seed=0,1", typed]
    assert with_preset(params, ["data.std=2"]) == ["autoencoder.optimizer.lr=1,2", "seed=0,1", "data.std=2"]


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("experiment=null,best", "for none of them: 'experiment=[],best'"),
        ("optimizer@autoencoder.optimizer=null", "for none of them: 'optimizer@autoencoder.optimizer=[]'"),
        ("search=grid,null", "for none of them: 'search=grid,[]'"),
        ("experiment=1,best", "one that looks like a number in quotes: 'experiment=\"NAME\"'"),
    ],
)
def test_what_is_no_name_of_a_file_is_told_what_to_type(typed: str, words: str) -> None:
    with pytest.raises(AeprobeError) as refused:
        check_groups([typed])
    assert words in str(refused.value)
