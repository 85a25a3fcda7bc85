"""What is typed is what arrives, and what is printed can be typed."""

import shlex
from pathlib import Path

import pytest
from conftest import REPO
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import example, given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from aeprobe.config.checks import no_such_key
from aeprobe.config.overrides import check_arguments, override, with_homes
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
@example(name="Inf")
@example(name="../runs/2026-01-01_a.b")
def test_a_printed_name_survives_the_shell_hydra_and_omegaconf(name: str) -> None:
    (argument,) = shlex.split(override("sweep", name))
    assert arrives(argument) == [name]


def test_a_tilde_is_the_home_directory_wherever_a_path_is_typed() -> None:
    typed = ["outputs=~/runs", "data.root=~", "sweep=~x", "ckpt=./~"]
    assert with_homes(typed) == [f'outputs="{Path.home()}/runs"', f'data.root="{Path.home()}"', *typed[2:]]


def test_an_unknown_key_is_answered_with_the_nearest_of_what_was_composed() -> None:
    with initialize_config_dir(str(REPO / "conf"), version_base="1.3"):
        choices = ["autoencoder=variational", "network@autoencoder.network=conv"]
        cfg = compose("config", overrides=choices, return_hydra_config=True)
    for key, near in {
        "callbacks": "callbacks@autoencoder.callbacks=NAME",
        "trainer.max_epochs": "autoencoder.max_epochs",
        "lr": "autoencoder.optimizer.lr",
        "classifier.lr": "classifier.optimizer.lr",
        "autoencoder.bta": "autoencoder.beta",
        "autoencoder.evaluation": "evaluation@autoencoder.evaluations=NAME",
        "dat": "data=NAME",
        "trainer.acelerator": "trainer.accelerator",
        "autoencoder.network.chanels": "autoencoder.network.channels",
        "hydra.run.dirr": "hydra.run.dir",
    }.items():
        assert no_such_key(key, cfg) == f"{key}: no such key; did you mean {near}?"
    assert "--cfg job" in no_such_key("trainer.foo", cfg)


@pytest.mark.parametrize(
    ("first", "second", "key"),
    [
        ("++autoencoder.optimizer={lr: 1}", "++autoencoder.optimizer={eps: 1}", "autoencoder.optimizer"),
        ("seed=0,1", "seed=5,6", "seed"),
        ("+x=1", "++x=2", "x"),
        ("optimizer@autoencoder.optimizer=adam", "optimizer@autoencoder.optimizer=sgd", "autoencoder.optimizer"),
        ("autoencoder=default", "autoencoder@autoencoder=variational", "autoencoder"),
        ("hydra/launcher=joblib", "hydra/launcher=slurm", "hydra.launcher"),
        ("resume=a", "resume=b", "resume"),
    ],
)
def test_a_key_that_is_given_twice_is_refused(first: str, second: str, key: str) -> None:
    with pytest.raises(AeprobeError) as refused:
        check_arguments(["-m", first, "sweep=s", second])
    assert str(refused.value) == f"{first} and {second}: {key} is given twice; give it once"


def test_a_file_its_values_and_a_deletion_are_several_things() -> None:
    optimizer = ["optimizer@autoencoder.optimizer=sgd", "++autoencoder.optimizer={lr: 0.5}"]
    check_arguments([*optimizer, "autoencoder.optimizer.weight_decay=0.1", "~data.source", "+data.source={}"])


def test_what_is_no_name_of_a_file_is_told_what_to_type() -> None:
    for typed in ("autoencoder=3", "experiment=null,best", "search=null"):
        with pytest.raises(AeprobeError, match="takes the name of a file in conf/") as refused:
            check_arguments([typed])
        assert str(refused.value).endswith(f"for none of them: '{typed.partition('=')[0]}=[]'")
    check_arguments(
        ["experiment=[]", "callbacks@autoencoder.callbacks=[ema,lr_monitor]", "~experiment", "data='3'"]
    )
