"""What a checkpoint says and holds is checked as what is typed; no number that is not finite comes out of one."""

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aeprobe.runtime  # noqa: F401

import pytest
import torch
from conftest import FIGURES, metrics, run_here, train
from hypothesis import given
from hypothesis import strategies as st
from images import write_folder
from refusals import refused

from aeprobe.errors import AeprobeError
from aeprobe.models import checkpoints
from aeprobe.runs.metrics import find_checkpoint

DATA, MODULE = "datamodule_hyper_parameters", "hyper_parameters"
NAN, INF = float("nan"), float("inf")
SETTINGS: list[tuple[str, str, str, Any, str]] = [
    ("autoencoder", DATA, "val_size", -5, "data.val_size=-5: must be 0 or more"),
    ("classifier", DATA, "val_size", "5000", "data.val_size='5000': must be a whole number"),
    ("classifier", DATA, "val_size", 5000.0, "data.val_size=5000.0: must be a whole number"),
    ("classifier", DATA, "val_size", True, "data.val_size=True: must be a whole number"),
    ("classifier", DATA, "val_size", None, "data.val_size=None: must be a whole number"),
    ("classifier", DATA, "seed", 2**32, "seed=4294967296: must be between 0 and 4294967295"),
    ("classifier", DATA, "seed", -1, "seed=-1: must be between 0"),
    ("autoencoder", DATA, "split_seed", [0], r"split_seed=\[0\]: must be a whole number"),
    ("autoencoder", DATA, "split_seed", -1, "split_seed=-1: must be between 0"),
    ("autoencoder", DATA, "name", "my data", "data.name='my data': must be a name of at most 40 letters"),
    ("autoencoder", DATA, "source", {"_target_": "aeprobe.data.mnist.KMNIST"}, "data.name=mnist: must be another"),
    ("autoencoder", DATA, "source", "mnist", "data.source='mnist': must be a node with a _target_"),
    ("autoencoder", DATA, "class_names", {"a": 1}, r"data.class_names={'a': 1}: must be a list of texts"),
    ("autoencoder", DATA, "class_names", ["a", 1], r"data.class_names=\['a', 1\]: must be a list of texts"),
    ("autoencoder", DATA, "name", "x" * 10_000, "data.name='xxxxx"),
    ("autoencoder", DATA, "name", "a\nb", r"data.name='a\\nb'"),
    ("autoencoder", DATA, "root", 7, "data.root=7: must be a text"),
    ("autoencoder", DATA, "root", "a\0b", "data.root='a"),
    ("autoencoder", DATA, "files", [1], r"data.files=\[1\]: must be a dict"),
    ("autoencoder", DATA, "files", {"train-images-idx3-ubyte": {"bytes": -1, "sha256": "0" * 64}}, "bytes=-1"),
    ("autoencoder", DATA, "files", {"train-images-idx3-ubyte": {"bytes": 1, "sha256": "0"}}, "sha256='0'"),
    ("autoencoder", MODULE, "std", 0.0, "data.std=0.0: must be a number above 0"),
    ("classifier", MODULE, "std", -1, "data.std=-1: must be a number above 0"),
    ("classifier", MODULE, "std", NAN, "data.std=nan"),
    ("classifier", MODULE, "mean", INF, "data.mean=inf: must be a finite number"),
    ("classifier", MODULE, "mean", 10**400, "data.mean=1000"),
    ("classifier", MODULE, "mean", "0", "data.mean='0': must be a number"),
    ("autoencoder", MODULE, "network", "conv", "network='conv': must be a node with a _target_"),
    ("classifier", MODULE, "network", {"_target_": 7}, "network={'_target_': 7}: must be a node with a _target_"),
    ("classifier", MODULE, "head", None, "head=None: must be a node with a _target_"),
    ("autoencoder", MODULE, "module", [], r"module=\[\]: must be a node with a _target_"),
    ("autoencoder", MODULE, "loss", 3, "loss=3: must be a word, or a node"),
    ("autoencoder", MODULE, "shape", [1, 28], r"shape=\[1, 28\]: must be three whole numbers"),
    ("classifier", MODULE, "shape", [1, 28, 2**20], "must be three whole numbers from 1 to 65536"),
    ("classifier", MODULE, "loss_on", "pixels", "loss_on='pixels': must be one of logits, softmax"),
    ("classifier", MODULE, "code_noise", -0.1, "code_noise=-0.1: must be 0 or more"),
    ("classifier", MODULE, "code_noise", NAN, "code_noise=nan"),
    ("classifier", MODULE, "standardize", "no", "standardize='no': must be true or false"),
]


@pytest.fixture(scope="module")
def stages(trained: Path) -> dict[str, dict[str, Any]]:
    """The content of each stage's checkpoint, without what only a resumed run needs."""
    found = {}
    for name in ("autoencoder", "classifier"):
        content = checkpoints.read(find_checkpoint(trained / name, name))
        found[name] = {k: v for k, v in content.items() if k not in ("optimizer_states", "callbacks", "loops")}
    return found


def written(content: dict[str, Any], path: Path) -> Path:
    torch.save(content, path)
    return path


@pytest.mark.parametrize(
    ("stage", "where", "key", "value", "words"),
    SETTINGS,
    ids=[f"{key}={value!r:.20}" for _, _, key, value, _ in SETTINGS],
)
def test_a_setting_is_refused_as_one_that_is_typed(
    stages: dict[str, dict[str, Any]], tmp_path: Path, stage: str, where: str, key: str, value: object, words: str
) -> None:
    content = copy.deepcopy(stages[stage])
    content[where][key] = value
    file = written(content, tmp_path / "other.ckpt")
    with pytest.raises(AeprobeError, match=words) as caught:
        checkpoints.load(file)
    line = str(caught.value)
    assert line.startswith(f"ckpt={file}: ")
    assert "\n" not in line
    assert len(line) < 400 + len(str(file))


@pytest.mark.parametrize("key", [DATA, MODULE, "state_dict", "global_step", "epoch"])
@pytest.mark.parametrize("value", [None, [], "x", -1, 1.5])
def test_a_part_of_another_kind_is_refused(
    stages: dict[str, dict[str, Any]], tmp_path: Path, key: str, value: object
) -> None:
    file = written(stages["classifier"] | {key: value}, tmp_path / "other.ckpt")
    with pytest.raises(AeprobeError, match=rf"other.ckpt: {key}=.*: must be"):
        checkpoints.load(file)


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize(
    ("stage", "name"), [("autoencoder", "decoder.6.bias"), ("classifier", "encoder.0.weight")], ids=str
)
def test_a_weight_that_is_not_finite_is_named(
    stages: dict[str, dict[str, Any]], tmp_path: Path, stage: str, name: str, value: float
) -> None:
    content = copy.deepcopy(stages[stage])
    content["state_dict"][name].view(-1)[7] = value
    file = written(content, tmp_path / "other.ckpt")
    with pytest.raises(AeprobeError, match=rf"its weight '{name}' is not finite in 1 of \d+ numbers"):
        checkpoints.load(file)


@pytest.mark.parametrize(
    "weight",
    [None, "x", torch.eye(2).to_sparse(), torch.ones(2, dtype=torch.int64), torch.ones(2, dtype=torch.complex64)],
    ids=["none", "text", "sparse", "whole", "complex"],
)
def test_what_is_no_weight_is_refused(stages: dict[str, dict[str, Any]], tmp_path: Path, weight: object) -> None:
    content = copy.deepcopy(stages["autoencoder"])
    content["state_dict"]["encoder.0.weight"] = weight
    file = written(content, tmp_path / "other.ckpt")
    why = (
        r"the weight 'encoder.0.weight'=\w+: must be a plain tensor of floats|is not a checkpoint of plain values"
    )
    with pytest.raises(AeprobeError, match=why):
        checkpoints.load(file)


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**80), 2**80),
    st.floats(allow_subnormal=False),
    st.text(max_size=30),
    st.sampled_from(["ReLU", "Softmax", "Module", "logits", "mnist", "folder", "..", 0, 1, 784, 1e-320, 1e308]),
    st.lists(st.integers(-2, 2000), max_size=5),
    st.lists(st.sampled_from([784, 500, 200, 100, 30, 10, True, 30.0, None, "30"]), max_size=6),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
    st.just(torch.ones(3)),
)


@given(stage=st.sampled_from(["autoencoder", "classifier"]), value=ODD, data=st.data())
def test_any_setting_with_any_value_is_refused_in_a_line_or_works(
    stages: dict[str, dict[str, Any]],
    tmp_path_factory: pytest.TempPathFactory,
    stage: str,
    value: object,
    data: Any,
) -> None:
    content = copy.deepcopy(stages[stage])
    places = [(where, key) for where in (DATA, MODULE) for key in content[where]]
    where, key = data.draw(st.sampled_from([*places, (DATA, "other"), (MODULE, "other")]))
    if data.draw(st.booleans()):
        content[where].pop(key, None)
    else:
        content[where][key] = value
    file = written(content, tmp_path_factory.getbasetemp() / "odd.ckpt")
    loaded = refused(lambda: checkpoints.load(file), f"ckpt={file}: ")
    if loaded is None:
        FIGURES["settings refused in checkpoints"] += 1
        return
    (module,) = loaded
    made = module.predict_step((torch.zeros(2, 1, 28, 28), torch.zeros(2)))
    assert all(tensor.shape[0] == 2 for tensor in made.values())


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Both stages on a small folder."""
    folder = write_folder(tmp_path / "images", 120)
    settings = ["data=folder", f"data.root={folder}", "data.val_size=20", "trainer.figures=false"]
    run_here(tmp_path / "run", [*settings, "autoencoder.max_epochs=1", "classifier.max_epochs=1"])
    return tmp_path / "run"


def alter(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    for file in path.glob("checkpoints/*.ckpt"):
        content = checkpoints.read(file)
        change(content)
        torch.save(content, file)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda c: c["state_dict"]["encoder.0.bias"].fill_(NAN),
            "its weight 'encoder.0.bias' is not finite in 500",
        ),
        (lambda c: c[DATA].update(val_size=-5), "data.val_size=-5: must be between 0 and"),
    ],
    ids=["nan", "val_size"],
)
def test_every_way_to_a_checkpoint_refuses_it(
    run: Path, tmp_path: Path, change: Callable[[dict[str, Any]], object], words: str
) -> None:
    copied = Path(shutil.copytree(run, tmp_path / "copy"))
    (copied / "classifier" / "metrics.json").unlink()  # stage 2 begins again, on stage 1's weights
    for stage in ("autoencoder", "classifier"):
        alter(run / stage, change)
    alter(copied / "autoencoder", change)
    for arguments in (
        ("stage=test", f"ckpt={run}"),
        ("stage=test", f"ckpt={run / 'autoencoder' / 'checkpoints' / 'last.ckpt'}"),
        ("stage=classifier", f"ckpt={run}"),
        (f"resume={run / 'autoencoder' / 'checkpoints' / 'last.ckpt'}", "classifier.max_epochs=2"),
        (f"resume={run}", "classifier.max_epochs=2"),
    ):
        result = train(*arguments, cwd=tmp_path)
        assert result.status == 1, arguments
        (line,) = result.err.splitlines()
        assert words in line
        assert "nan" not in result.out
        assert "instead" not in line  # best.ckpt is as bad
    assert not (tmp_path / "outputs").exists() or not [*(tmp_path / "outputs").rglob("*.json")]


@pytest.mark.parametrize("stage", ["autoencoder", "classifier"])
def test_finite_weights_that_give_no_finite_loss_end_a_test_as_failed(
    run: Path, tmp_path: Path, stage: str
) -> None:
    def enlarge(content: dict[str, Any]) -> None:
        for key, weight in content["state_dict"].items():
            if key.startswith("encoder"):
                weight.fill_(3e38)

    alter(run / stage, enlarge)
    with pytest.raises(AeprobeError, match=r"test/loss is (nan|inf)"):
        run_here(tmp_path / "test", ["stage=test", f"ckpt={run / stage}", "trainer.figures=false"])
    found = metrics(tmp_path / "test")
    assert (found["status"], found["final"]) == ("failed", {})


@pytest.mark.parametrize("value", [0, -1, 10**6, "2", None, True, 1.5])
def test_a_stored_number_of_threads_is_checked(run: Path, value: object) -> None:
    from same_runs import resume_here

    said = metrics(run / "classifier")
    (run / "classifier" / "metrics.json").write_text(json.dumps(said | {"threads": value}))
    with pytest.raises(AeprobeError, match=rf"metrics.json: threads={value}: must be from 1 to"):
        resume_here(run, "classifier.max_epochs=2")
