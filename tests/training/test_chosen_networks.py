"""Networks, losses and kinds of stage 1 that a person chooses, by a file in conf/ or a class of their own."""

from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from conftest import metrics, run_here, scalars, train
from same_runs import same
from torch import nn
from torch.nn.functional import binary_cross_entropy, mse_loss

from aeprobe import load
from aeprobe.data.datamodule import ImageDataModule
from aeprobe.errors import AeprobeError
from aeprobe.models import checkpoints
from aeprobe.models.autoencoder import Autoencoder
from aeprobe.models.classifier import Classifier
from aeprobe.models.variational import VariationalAutoencoder
from aeprobe_tools.results.folding import find_runs, summarize

FEW = ("trainer.limit_train_batches=4", "trainer.limit_val_batches=1")
CHOSEN = {
    "conv": ["network@autoencoder.network=conv", "autoencoder.network.channels=[3,4]"],
    "variational": [
        *("autoencoder=variational", "autoencoder.beta=2", "corruption@autoencoder.corruption=gaussian")
    ],
    "dropout": [
        "autoencoder.loss=bce",
        "autoencoder.network.dropout=0.1",
        "autoencoder.network.batch_norm=true",
        "classifier.head.batch_norm=true",
    ],
    "own": [
        *("--config-dir=own", "network@autoencoder.network=flat", "head@classifier.head=line"),
        "autoencoder.network.code=7",
        "autoencoder.loss={_target_: torch.nn.SmoothL1Loss, beta: 0.5}",
        "classifier.loss={_target_: torch.nn.CrossEntropyLoss, label_smoothing: 0.1}",
    ],
}
LOSSES = {"conv": mse_loss, "dropout": binary_cross_entropy}
YAML = {"network/flat": "_target_: mine.Flat\ncode: 5\n", "head/line": "_target_: mine.Line\n"}
MINE = """
import math
from pathlib import Path
from torch import nn

Path(__file__).with_name("imported").touch()

class Flat(nn.Module):
    def __init__(self, shape, code=5):
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), code))
        pixels = nn.Linear(code, math.prod(shape))
        self.decoder = nn.Sequential(pixels, nn.Sigmoid(), nn.Unflatten(1, tuple(shape)))

class Line(nn.Linear):
    def __init__(self, code, classes):
        super().__init__(code, classes)
"""


def typed(name: str, root: Path, epochs: int = 2) -> list[str]:
    return [
        *CHOSEN[name],
        *FEW,
        f"data.root={root}",
        f"autoencoder.max_epochs={epochs}",
        "classifier.max_epochs=2",
        "hydra.run.dir=run",
    ]


def write_own(folder: Path, python: str = MINE, files: dict[str, str] = YAML) -> None:
    """A person's own class beside where they type, and a file of the configuration for each."""
    (folder / "mine.py").write_text(python)
    for name, content in files.items():
        file = folder / "own" / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, root: Path) -> dict[str, Path]:
    """A directory for each choice, with the run of stage=all that it makes, by the real command line."""
    made = {}
    for name in CHOSEN:
        made[name] = tmp_path_factory.mktemp(name)
        write_own(made[name])
        done = train(*typed(name, root), "plugins=[mine]", cwd=made[name])
        assert done.status == 0, done.err
    return made


@pytest.mark.slow
@pytest.mark.parametrize("name", ["variational", "own"])
def test_a_run_goes_on_to_the_same_bits(name: str, runs: dict[str, Path], root: Path, tmp_path: Path) -> None:
    write_own(tmp_path)
    first = [one for one in typed(name, root, epochs=1) if not one.startswith(("classifier.", "head@"))]
    done = train(*first, "stage=autoencoder", "trainer.figures=false", cwd=tmp_path)
    assert done.status == 0, done.err
    if name == "own":
        (line,) = train("resume=run", "autoencoder.max_epochs=2", cwd=tmp_path).err.splitlines()
        assert "network._target_=mine.Flat: a stored configuration names no other class" in line
        assert "add plugins=[mine]" in line
    more = ["plugins=[mine]"] if name == "own" else []
    done = train("resume=run", "autoencoder.max_epochs=2", *more, cwd=tmp_path)
    assert done.status == 0, done.err
    whole, again = (
        checkpoints.read(path / "checkpoints" / "last.ckpt")["state_dict"]
        for path in (runs[name] / "run" / "autoencoder", tmp_path / "run")
    )
    assert same(whole, again)


@pytest.mark.parametrize("name", CHOSEN)
def test_what_was_measured_is_what_a_loaded_module_gives(
    name: str, runs: dict[str, Path], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(runs[name])
    run = runs[name] / "run"
    with pytest.raises(AeprobeError, match="names no other class") if name == "own" else nullcontext():
        load(run)
    classifier, autoencoder = load(run, plugins=["mine"]), load(run / "autoencoder", plugins=["mine"])
    assert isinstance(classifier, Classifier)
    assert isinstance(autoencoder, Autoencoder)
    data = ImageDataModule(root=str(root))
    data.setup()
    images, labels = data.splits["test"][torch.arange(10_000)]
    with torch.no_grad():
        made, logits = autoencoder(images), classifier(images)
    final = metrics(run / "autoencoder")["final"]
    assert final["test/mse"] == pytest.approx(mse_loss(made, images).item(), rel=1e-4)
    if name in LOSSES:
        assert final["test/loss"] == pytest.approx(LOSSES[name](made, images).item(), rel=1e-4)
    right = (logits.argmax(1) == labels).float().mean().item()
    assert metrics(run / "classifier")["final"]["test/accuracy"] == pytest.approx(right, abs=1e-3)
    kept, frozen = autoencoder.encoder.state_dict(), classifier.encoder.state_dict()
    assert same(kept, frozen), "statistics of a batch norm too"


@pytest.mark.parametrize("name", CHOSEN)
def test_a_finished_run_is_tested_again_and_tells_what_it_is(name: str, runs: dict[str, Path], root: Path) -> None:
    path = runs[name]
    arguments = ["stage=test", "ckpt=run", "plugins=[mine]", "hydra.run.dir=test", f"data.root={root}"]
    done = train(*arguments, "trainer.figures=false", cwd=path)
    assert done.status == 0, done.err
    again, before = metrics(path / "test")["final"], metrics(path / "run" / "classifier")["final"]
    assert again["test/accuracy"] == before["test/accuracy"]
    run = metrics(path / "run" / "autoencoder")
    layers = {part: "-".join(network["sizes"]) for part, network in run["networks"].items()}
    encoders = {"conv": "1x28x28-3x14x14-4x7x7-30", "own": "784-7"}
    assert layers["encoder"] == encoders.get(name, "784-500-200-100-30")
    assert metrics(path / "run" / "classifier")["networks"]["encoder"] == run["networks"]["encoder"]
    page = (path / "run" / "report.html").read_text()
    assert f"An autoencoder {layers['encoder']}" in page
    assert "Not drawn in this run" not in page
    figures = {file.stem for file in (path / "run" / "autoencoder" / "figures").glob("*.png")}
    assert ("sampled" in figures) == ("Sampled images" in page) == (name == "variational")
    curves = scalars(path / "run" / "autoencoder")
    assert ("val/mse" in curves) == (name != "conv"), "no curve twice"
    (row,) = summarize(find_runs([path / "run"]), metric="autoencoder val/mse")
    assert row["n"] == 1


def test_the_variational_objective_is_that_of_the_paper(runs: dict[str, Path], root: Path) -> None:
    run = runs["variational"] / "run" / "autoencoder"
    module = load(run)
    assert isinstance(module, VariationalAutoencoder)
    data = ImageDataModule(root=str(root))
    data.setup()
    images = data.splits["test"][torch.arange(10_000)][0]
    with torch.no_grad():
        mean = module.encode(images)
        spread = (module.log_variance(mean) / 2).exp()
        kl = torch.distributions.kl_divergence(
            torch.distributions.Normal(mean, spread), torch.distributions.Normal(0.0, 1.0)
        )
        expected = binary_cross_entropy(module(images), images) + 2 * kl.sum(1).mean() / 784
    final = metrics(run)["final"]
    assert final["test/kl"] == pytest.approx(kl.sum(1).mean().item(), rel=1e-4)
    assert final["test/loss"] == pytest.approx(expected.item(), rel=1e-4)
    assert metrics(run)["loss"] == "binary cross-entropy per pixel, plus 2 KL / 784"
    assert module.sample(5).shape == (5, 1, 28, 28)
    best = checkpoints.read(run / "checkpoints" / "best.ckpt")["epoch"] + 1
    losses = {row["epoch"]: row["val/loss"] for row in metrics(run)["epochs"]}
    assert losses[best] == min(losses.values())


def test_frozen_statistics_stay_frozen(runs: dict[str, Path]) -> None:
    module = load(runs["dropout"] / "run")
    module.train()
    norms = [layer for layer in module.encoder.modules() if isinstance(layer, nn.BatchNorm1d | nn.Dropout)]
    assert norms
    assert not any(layer.training for layer in norms)
    assert any(layer.training for layer in module.head.modules() if isinstance(layer, nn.BatchNorm1d))


FAULTS = [
    (["autoencoder.network._target_=mine.No"], "autoencoder.network._target_=mine.No: there is no such class"),
    (["autoencoder._target_=torch.nn.ReLU"], "autoencoder._target_=torch.nn.ReLU: is no Autoencoder"),
    (["network@autoencoder.network=empty"], "Identity has no attribute `encoder`"),
    (["autoencoder={0}", "+autoencoder.bata=1"], "unexpected keyword argument 'bata'"),
    (["+autoencoder.bata=1"], "autoencoder.bata: no such key"),
    (["autoencoder={0}", "autoencoder.beta=0"], "beta=0: must be above 0"),
    (["autoencoder={0}", "regularizer@autoencoder.regularizer=clusters"], "takes no regularizer"),
    (["autoencoder.loss=mae"], "autoencoder.loss=mae: must be mse or bce or l1, or a node"),
    (["network@autoencoder.network=conv", "autoencoder.network.channels=[2,2,2,2,2,2]"], "single pixel after 5"),
    (["network@autoencoder.network=wide"], r"the decoder makes \(2, 1, 28, 29\) of two codes: expected"),
    (["network@autoencoder.network=narrow"], r"the encoder does not take \(2, 1, 28, 28\): mat1 and mat2"),
    (["network@autoencoder.network=picture"], r"the encoder makes \(2, 1, 28, 28\)"),
    (["head@classifier.head=four"], r"the head does not take \(2, 30\)"),
    (["classifier.head.widths=[30,20,9]"], "classifier.head has 9 outputs, but the labels go up to 9"),
    (["autoencoder.network.widths=[auto,auto,30]"], r"widths=\[784, 'auto', 30\]: must be two or more numbers"),
]
WRONG_YAML = {
    **{f"network/{name.lower()}": f"_target_: mine.{name}\n" for name in ("Wide", "Narrow", "Picture")},
    "network/empty": "_target_: torch.nn.Identity\n",
    "head/four": "{_target_: torch.nn.Linear, in_features: 4, out_features: 10}\n",
}
WRONG = """
from torch import nn

class Wide(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(784, 5))
        self.decoder = nn.Sequential(nn.Linear(5, 28 * 29), nn.Unflatten(1, (1, 28, 29)))

class Narrow(Wide):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(783, 5))

class Picture(Wide):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Identity()
"""


@pytest.mark.parametrize(("arguments", "said"), FAULTS)
def test_what_does_not_fit_is_refused_before_anything_is_written(
    arguments: list[str], said: str, tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_own(tmp_path, WRONG, WRONG_YAML)
    monkeypatch.syspath_prepend(tmp_path)
    given = [argument.replace("{0}", "variational") for argument in arguments]
    with pytest.raises(AeprobeError, match=said) as caught:
        run_here(tmp_path / "run", [f"hydra.searchpath=[{tmp_path / 'own'}]", *given, f"data.root={root}", *FEW])
    assert "\n" not in str(caught.value)
    assert {file.name for file in tmp_path.iterdir()} <= {"mine.py", "own", "__pycache__"}
