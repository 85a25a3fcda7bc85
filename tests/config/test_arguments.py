"""What is typed is what arrives, and what is printed can be typed."""

import shlex

import pytest
from conftest import REPO
from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import example, given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from aeprobe.config.hints import no_such_key
from aeprobe.config.overrides import as_typed_text, check_groups, job_name, override, require_once, with_preset
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
