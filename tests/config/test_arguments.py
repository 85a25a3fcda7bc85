"""What is typed is what arrives, and what is printed can be typed."""

import shlex
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import example, given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from aeprobe.config.hints import hint, unknown_option
from aeprobe.config.overrides import in_full, override

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
    assert in_full(typed) == [
        f'outputs="{Path.home()}/runs"',
        f'data.root="{Path.home()}"',
        "sweep=~x",
        "ckpt=./~",
    ]


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("callbacks", "callbacks@autoencoder.callbacks=NAME, callbacks@classifier.callbacks=NAME"),
        ("trainer.callbacks", "callbacks@autoencoder.callbacks=NAME"),
        ("callbacks.early_stopping.patience", "callbacks@autoencoder.callbacks=NAME"),
        ("network@autoencoder.network", "each stage has its own: network@autoencoder.network=NAME"),
        ("trainer.max_epochs", "did you mean autoencoder.max_epochs? (or classifier.max_epochs)"),
        ("model.lr", "did you mean autoencoder.optimizer.lr?"),
        ("classifier.lr", "did you mean classifier.optimizer.lr?"),
        ("dat", "did you mean data?"),
        ("trainer.acelerator", "did you mean trainer.accelerator?"),
        ("experimnt", "did you mean experiment?"),
        ("hydra.run.dirr", "--cfg hydra"),
        ("trainer.foo", "--cfg job"),
    ],
)
def test_a_hint_is_something_to_type(key: str, words: str) -> None:
    assert words in hint(key)


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("--seed=3", "as seed=3;"),
        ("--experiment=report", "as experiment=report;"),
        ("--stage", "as KEY=VALUE;"),
        ("-lr=3", "as lr=3;"),
        ("--multrun", "did you mean --multirun?"),
        ("--multi", "did you mean --multirun?"),
    ],
)
def test_an_option_that_does_not_exist(argument: str, words: str) -> None:
    assert words in str(unknown_option([argument, "seed=1"]))


def test_the_options_of_hydra_are_known() -> None:
    assert (
        unknown_option(["-m", "--multirun", "--cfg=job", "-c", "job", "--config-dir=x", "-cd", "y", "~seed"])
        is None
    )
