"""What is typed is what arrives, and what is printed can be typed."""

import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import example, given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from aeprobe.config.hints import hint, unknown_option
from aeprobe.config.overrides import as_typed_text, job_name, override

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
    assert as_typed_text([argument]) == [argument]


@pytest.mark.parametrize("key", ["sweep", "+outputs", "++ckpt", "data.root", "resume", "hydra.run.dir"])
@given(name=st.text("0123456789_.eExXnulTtRrFAsaIify~äé#!-+ ", min_size=1))
def test_a_typed_name_is_not_altered(key: str, name: str) -> None:
    (argument,) = as_typed_text([f"{key}={name}"])
    optional = key == "++ckpt" and name.strip(" ").lower() == "null"
    assert arrives(argument) == [None if optional else name] or str(arrives(argument)[0]) == name


@pytest.mark.parametrize(
    ("typed", "names"),
    [
        ("sweep=1_0,10,1e1", ["1_0", "10", "1e1"]),
        ("outputs=~/a,'~/b c',true,null", ["~/a", "~/b c", "true", "null"]),
        ("ckpt=choice(007,0x10,1.10)", ["007", "0x10", "1.10"]),
        ("ckpt=a,null", ["a", "None"]),
        ("objective=null", ["None"]),
        ("sweep=false", ["false"]),
        ("trainer.profiler=null", ["None"]),
    ],
)
def test_lists_of_names_and_null(typed: str, names: list[str]) -> None:
    assert [str(value) for value in arrives(as_typed_text([typed])[0])] == names


@pytest.mark.parametrize(
    "argument",
    [
        "seed=1_0",
        "autoencoder.network.widths=[784,3_0]",
        "ckpt='1_0'",
        "ckpt=a=b",
        "--cfg",
        "-m",
        "~seed",
        "ckpt=",
        "x",
    ],
)
def test_what_is_no_name_stays_as_it_is(argument: str) -> None:
    assert as_typed_text([argument]) == [argument]


def test_two_names_never_give_one_job() -> None:
    names = ["1_0", "10", "1e1", "10.0", "010", "+10", "true", "True", "null"]
    typed = [as_typed_text([f"data.root={name}"])[0] for name in names]
    assert len({job_name([o]) for o in typed}) == len(names)
    assert job_name(["data.root=10"]) == job_name([typed[1]])  # and those of earlier sweeps keep theirs


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("callbacks", "callbacks@autoencoder.callbacks=early_stopping"),
        ("callbacks.early_stopping.patience", "callbacks@autoencoder.callbacks=early_stopping"),
        ("trainer.callbacks", "callbacks@autoencoder.callbacks=early_stopping"),
        ("loggers", "logger=csv"),
        ("trainer.wandb", "logger=csv"),
        ("trainer.max_steps", "autoencoder.max_epochs=N"),
        ("trainer.max_epochs", "did you mean autoencoder.max_epochs? (or classifier.max_epochs)"),
        ("epochs", "autoencoder.max_epochs=N, classifier.max_epochs=N"),
        ("lr", "did you mean autoencoder.optimizer.lr? (or classifier.optimizer.lr)"),
        ("model.lr", "did you mean autoencoder.optimizer.lr?"),
        ("classifier.lr", "did you mean classifier.optimizer.lr?"),
        ("optimizer", "optimizer@autoencoder.optimizer=NAME"),
        ("trainer.scheduler", "scheduler@classifier.scheduler=NAME"),
        ("model", "autoencoder.network.widths="),
        ("network@autoencoder.network", "autoencoder.network.widths="),
        ("dat", "did you mean data?"),
        ("data.num_workers", "in memory"),
        ("trainer.gpus", "trainer.accelerator=gpu"),
        ("trainer.acelerator", "did you mean trainer.accelerator?"),
        ("experimnt", "did you mean experiment?"),
        ("ckpt_path", "resume=RUN"),
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
        ("--stage", "as stage=VALUE;"),
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
