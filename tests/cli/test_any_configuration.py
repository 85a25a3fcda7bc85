"""Any key of the configuration with any odd value: a run that is right, or one line; never a traceback.

The keys are those of the schema and of the files in conf/, so that a new one is tested without a word here.
"""

import contextlib
import json
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from command import command
from conftest import REPO, Result
from hydra import compose, initialize_config_dir
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from images import write_folder
from omegaconf import OmegaConf

from aeprobe.cli import main as cli
from aeprobe.config.choices import LossOn
from aeprobe.config.hints import known_keys
from aeprobe.config.schema import Config
from aeprobe.config.settings import flat
from aeprobe.models import checkpoints
from aeprobe.models.networks import ACTIVATIONS

MANY = settings.default.max_examples if settings.default else 0
SEVERAL = ("trainer.devices", "trainer=ddp", "strategy")  # start processes
STAGES = ("autoencoder", "classifier")
NODES = [f"{stage}.{node}" for stage in STAGES for node in ("optimizer", "scheduler")]


def options(group: str) -> list[str]:
    """The names of the files of a group."""
    return sorted(path.stem for path in (REPO / "conf" / group).glob("*.yaml"))


def keys() -> list[str]:
    found = {*known_keys(), "hydra.run.dir"}
    for node in NODES:
        group = node.partition(".")[2]
        found |= {f"{node}.{key}" for name in options(group) for key in OmegaConf.load(path(group, name))}
    return sorted(found)


def defaults() -> dict[str, Any]:
    """The value that each key has somewhere in conf/."""
    with initialize_config_dir(str(REPO / "conf"), version_base="1.3"):
        schedulers = [
            f"scheduler@{stage}.scheduler={name}"
            for stage, name in zip(STAGES, ("cosine", "onecycle"), strict=True)
        ]
        composed = compose("config", overrides=[*schedulers, "optimizer@classifier.optimizer=sgd"])
    return flat(OmegaConf.to_container(composed, enum_to_str=True))  # type: ignore[arg-type]


def path(group: str, name: str) -> Path:
    return REPO / "conf" / group / f"{name}.yaml"


# None that leads out of the directory of a test.
ODD = """\
-1|0|1|2|3|1.5|-0.0|0.5|1e-320|1e-45|1e38|1e39|1e308|1e400|nan|inf|-inf|.nan|.inf|NaN|255|65536|2147483648
4294967295|9223372036854775807|9223372036854775808|18446744073709551616|100000000000000000000000000000|0x10|0b1|1_000
null|None|true|false|yes|~||''|""|' '|[]|{}|[[]]|[1]|[null]|[nan]|[a,b]|[784,30]|[784,1048576,30]|[784,-1,30]|{a:1}
[784,1048576,1048576,30]|[0.9,0.999]|[1,2,3]|[1e400,0]|[0,0]|{_target_:os.system}|{_target_:torch.optim.Adam}
a b|a=b|x[1]|'a|"a|a'b|\\|\\\\|a\\,b|{|}|[|]|(|)|,|1,2|range(1,3)|glob(*)|choice(1,2)|shuffle(1)|int(a)|str(1)
sort(2,1)|${seed}|${nowhere}|${|${}|$|${oc.env:NOWHERE}|${oc.env:HOME}|${now:%Y}|${aeprobe.sweep_name:/}|${outputs}|${trainer}|???
${autoencoder.optimizer.lr}|${data.root}|${oc.decode:[}|${oc.create:{a:1}}|ä,ö
日本語|\N{PILE OF POO}|\u202e|\x1b[31m
/dev/null|/dev/null/x|/proc/nowhere|.|./.|a/b|a/../b|auto|cpu|mps|gpu|16-mixed|bf16-mixed|64-true|advanced|simple|he
torch.optim.Adam|torch.optim.LBFGS|torch.optim.SparseAdam|torch.optim.Optimizer|torch.optim.lr_scheduler.LambdaLR
torch.optim.lr_scheduler.StepLR|torch.optim.lr_scheduler.ReduceLROnPlateau|torch.optim.Nothing|os.system|builtins.eval
Tanh|SELU|softmax|folder|val/loss|test/loss|classifier val/accuracy|autoencoder val/accuracy|all|test|classifier"""
LONG = ["x" * 300, "x" * 5000, "1" * 400, "[" * 300, "a/" * 2500, "\n", "a\nb", "\t", " ", "1 ", "9" * 5000]
WORDS = st.sampled_from([*ODD.replace("\n", "|").split("|"), *LONG])
INTEGERS = st.integers(-(2**70), 2**70).map(str)
FLOATS = st.floats(allow_subnormal=False).map(str)
LISTS = st.lists(st.one_of(st.integers(-3, 2000).map(str), FLOATS), max_size=5).map(
    lambda items: f"[{','.join(items)}]"
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0/"), max_size=30)
VALUES = st.one_of(WORDS, WORDS, st.integers(-3, 300).map(str), INTEGERS, FLOATS, LISTS, TEXTS)
PREFIXES = st.sampled_from(["", "", "", "", "", "", "+", "++", "~"])


def near(key: str) -> st.SearchStrategy[str]:
    """Values like the one that a key has: most of them can be run."""
    name, value = key.rpartition(".")[2], DEFAULTS[key]
    if name in CHOSEN:
        return st.sampled_from(CHOSEN[name])
    if isinstance(value, bool):
        return st.sampled_from(["true", "false"])
    if isinstance(value, int | float):
        kind = type(value)
        return st.sampled_from([1, 2, 0.5, 3.3, 10, 0.1, 0]).map(lambda factor: str(kind(value * factor)))
    if isinstance(value, list) and value:
        return st.permutations(value[1:-1]).map(lambda items: str([value[0], *items, value[-1]]).replace(" ", ""))
    return st.sampled_from(["null", "1", "2", "0.5"] if value is None else [str(value), "new"])


CHOSEN = {
    "activation": list(ACTIVATIONS),
    "initialization": ["torch", "he"],
    "loss": ["mse", "bce", "l1", "cross_entropy"],
    "loss_on": list(LossOn),
    "stage": ["all", "autoencoder"],
    "objective": ["null", "val/loss", "train/loss"],
    "ckpt": ["null"],
    "accelerator": ["cpu", "auto"],
    "precision": ["32-true", "bf16-mixed", "64-true", "16-mixed"],
    "profiler": ["null", "simple", "advanced"],
    "progress": ["true", "false", "auto"],
}


@st.composite
def overrides(draw: st.DrawFn) -> str:
    """One odd override of any key, raw or quoted."""
    key = draw(st.sampled_from(KEYS))
    value = draw(VALUES)
    if draw(st.integers(0, 3)) == 0:
        value = cli.override("x", value)[2:] if "'" not in cli.override("x", value) else f'"{value}"'
    return f"{draw(PREFIXES)}{key}={value}"


KEYS = sorted(keys(), key=lambda key: key.count("."), reverse=True)
DEFAULTS = defaults()
GROUPS = {"experiment": "experiment", "trainer": "trainer", "data": "data"} | {
    f"{node.partition('.')[2]}@{node}": node.partition(".")[2] for node in NODES
}
CHOICES = st.sampled_from([f"{key}={name}" for key, group in GROUPS.items() for name in options(group)])
NEAR = st.sampled_from([key for key in KEYS if key in DEFAULTS and not key.endswith("_")]).flatmap(
    lambda key: near(key).map(lambda value: f"{key}={value}")
)
ODDLY = st.lists(overrides(), min_size=1, max_size=3)
PLAIN = st.lists(NEAR, min_size=1, max_size=5)
TYPED = st.builds(list.__add__, st.lists(CHOICES, max_size=2), st.one_of(ODDLY, PLAIN))


@pytest.fixture
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.getbasetemp()


@contextlib.contextmanager
def new_directory(base: Path) -> Iterator[Path]:
    """A working directory of its own, deep enough for `..`."""
    with tempfile.TemporaryDirectory(dir=base) as made:
        inner = Path(made) / "a" / "b" / "c"
        inner.mkdir(parents=True)
        with contextlib.chdir(inner):
            yield inner


def assert_one_line(result: Result) -> None:
    assert result.status == 1
    assert result.err.startswith("error: "), result.err
    assert result.err.count("\n") == 1, result.err
    assert len(result.err) > len("error: \n")
    assert "unexpected" not in result.err, result.err
    assert "Traceback" not in result.out + result.err


@pytest.mark.slow
@settings(max_examples=MANY)
@given(typed=TYPED)
def test_a_configuration_is_accepted_or_refused_in_one_line(here: Path, typed: list[str]) -> None:
    accepted: list[Config] = []

    def execute(config: Config, *_: object, **__: object) -> dict[str, Any]:
        accepted.append(config)
        return {stage: {"final": {}} for stage in STAGES}

    with new_directory(here), patch.object(cli, "execute", execute):
        result = command(*typed)
    if result.status:
        assert_one_line(result)
        assert not accepted
    else:
        assert result.err == ""
        assert len(accepted) == 1


@pytest.fixture(scope="session")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("few") / "images", count=120)


@pytest.mark.slow
@settings(max_examples=MANY // 5)
@given(typed=TYPED)
def test_what_is_accepted_runs_or_says_why_not(here: Path, few: Path, typed: list[str]) -> None:
    assume(not any(word in text for text in typed for word in SEVERAL))  # would start processes
    small = ["data=folder", f"data.root={few}", "data.val_size=20", "trainer.figures=false"]
    limits = ["trainer.limit_train_batches=2", "trainer.limit_epochs=1"]
    with new_directory(here) as directory:
        result = command(*small, *limits, *typed)
        found = [json.loads(file.read_text()) for file in sorted(directory.rglob("metrics.json"))]
        if result.status:
            assert_one_line(result)
            assert all(run["status"] in ("completed", "failed") for run in found)
            return
        for run in found:
            assert (run["status"], run["error"]) == ("completed", None)
            assert all(value is None or math.isfinite(value) for value in run["final"].values()), run["final"]
        for file in directory.rglob("*.ckpt"):
            weights = checkpoints.read(file)["state_dict"]
            assert all(weight.isfinite().all() for weight in weights.values())
