"""`aeprobe playground`: the file that is written, what it says, and what is refused."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY, Result, metrics, train
from refusals import refused
from torch import nn

from aeprobe.data.datamodule import ImageDataset
from aeprobe.models.networks import MLP, ConvAutoencoder, Normalize, Standardize
from aeprobe_tools.report.page import write_report
from aeprobe_tools.use import playground
from aeprobe_tools.use.playground import plain, write_playground

LINKS = re.compile(
    r"""\b(?:src|href|action)\s*=\s*["']?(?!["'#])|url\(|@import|https?://|\bfetch\(|XMLHttp|import\("""
)


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A stage=all run that may be written into, without the playground that training wrote."""
    copied = Path(shutil.copytree(trained, tmp_path / "run"))
    (copied / "playground.html").unlink()
    return copied


@pytest.fixture
def aeprobe(capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    def call(*arguments: str | Path) -> Result:
        return Result(playground.main([*map(str, arguments)]), *capsys.readouterr())

    return call


def content(page: Path) -> dict[str, Any]:
    """The data of its script."""
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page.read_text())
    return dict(json.loads(text))


def change(stage: Path, **values: Any) -> None:
    (stage / "metrics.json").write_text(json.dumps(metrics(stage) | values))


def test_one_file_of_a_few_megabytes_that_asks_for_nothing(run: Path, aeprobe: Callable[..., Result]) -> None:
    done = aeprobe(run)
    page = run / "playground.html"
    assert (done.status, done.err) == (0, "")
    assert done.out.strip() == f"{page}: {page.stat().st_size / 1e6:.1f} MB"
    assert 2e6 < page.stat().st_size <= 4e6
    text = page.read_text()
    assert write_playground(run, run.parent / "again.html").read_text() == text
    assert LINKS.findall(text) == []
    (policy,) = re.findall(r'Content-Security-Policy" content="(.*?)"', text)
    assert policy.startswith("default-src &#39;none&#39;; script-src &#39;sha256-")
    assert "unsafe" not in policy
    assert "python train.py" in text
    assert "seed=3" in text
    assert {file.name for file in run.iterdir()} == {"autoencoder", "classifier", "playground.html", "report.html"}


def test_it_holds_the_run(run: Path) -> None:
    found = content(write_playground(run))
    assert found["shape"] == [1, 28, 28]
    assert [layer["kind"] for layer in found["encoder"]] == [*["linear", "ReLU"] * 3, "linear"]
    assert [layer["kind"] for layer in found["decoder"]] == [*["linear", "ReLU"] * 3, "linear", "Sigmoid"]
    assert [layer["to"] for layer in found["head"] if layer["kind"] == "linear"] == [[20], [15], [10]]
    assert found["labels"] == sorted([*range(10)] * 10)
    assert found["names"] == [str(digit) for digit in range(10)]
    matrix = np.array(metrics(run / "classifier")["confusion_matrix"])
    taken = np.array([row[0] for row in found["answers"]])
    wrong = np.array([row[1] for row in found["answers"]])
    assert (taken == matrix.sum(0)).all()
    assert (taken - wrong == matrix.diagonal()).all()


def test_its_sentences_have_the_numbers_of_the_run(run: Path) -> None:
    final = {stage: metrics(run / stage)["final"] for stage in ("autoencoder", "classifier")}
    (about,) = re.findall(r'<p class="about">(.*?)</p>', write_playground(run).read_text())
    assert f"{final['autoencoder']['test/mse']:.4f}" in about
    assert f"{100 * final['classifier']['test/accuracy']:.2f}" in about
    assert "(seed 3)" in about
    assert "784-500-200-100-30" in about


def test_names_of_classes_are_text(run: Path) -> None:
    hostile = [
        "</script><script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "\"&'",
        "{{ 7 * 7 }}",
        "\u2028",
    ]
    names = [*hostile, *map(str, range(5, 10))]
    for stage in ("autoencoder", "classifier"):
        data = metrics(run / stage)["data"]
        change(run / stage, data=data | {"class_names": names}, overrides=[f"seed=3 {hostile[0]}"])
    page = write_playground(run)
    assert content(page)["names"][:4] == hostile[:4]
    text = page.read_text()
    assert "<script>alert" not in text
    assert "<img src=x" not in text
    assert text.count("</script>") == 2


def test_an_interrupted_run_says_that_it_is_one(run: Path) -> None:
    change(run / "autoencoder", status="interrupted")
    text = write_playground(run).read_text()
    assert "is not finished (interrupted; epochs: " in text


def test_an_autoencoder_alone_has_a_page_without_answers(run: Path, aeprobe: Callable[..., Result]) -> None:
    assert aeprobe(run / "autoencoder").status == 0
    page = run / "autoencoder" / "playground.html"
    assert content(page)["head"] is None
    text = page.read_text()
    assert 'id="answer"' not in text
    assert "is not there" not in text  # it is, beside this part
    assert "No digit is predicted here. The run has no classifier." in text
    shutil.rmtree(run / "classifier")
    assert content(write_playground(run))["head"] is None


def test_a_classifier_whose_encoder_is_another_is_left_out(knows_digits: Path, tmp_path: Path) -> None:
    page = write_playground(knows_digits, tmp_path / "page.html")
    assert content(page)["head"] is None
    assert "has an encoder of its own" in page.read_text()


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (nn.Sequential(nn.Linear(4, 4), nn.Softplus()), "encoder: the playground cannot compute Softplus"),
        (
            nn.Sequential(nn.Flatten(), nn.TransformerEncoderLayer(4, 1)),
            "cannot compute TransformerEncoderLayer: it has no such layer",
        ),
        (nn.Conv2d(1, 1, 3, padding="same"), "padding='same' is not supported"),
        (nn.Conv2d(2, 2, 1, groups=2), "groups=2 is not supported"),
        (nn.Conv2d(1, 1, 2, dilation=2), "dilation=(2, 2) is not supported"),
        (nn.BatchNorm2d(1, track_running_stats=False), "normalises by its batch"),
        (type("Own", (nn.Sequential,), {})(nn.Linear(4, 4)), "cannot compute Own: it has no such layer"),
    ],
)
def test_other_layers_are_refused_by_their_names(module: nn.Module, said: str) -> None:
    shape = (getattr(module, "in_channels", 1), 4, 4) if isinstance(module, nn.Conv2d | nn.BatchNorm2d) else (4,)
    assert refused(lambda: plain(module.eval(), shape, "encoder"), said) is None


def test_weights_that_no_16_bit_float_holds_are_refused() -> None:
    layer = nn.Linear(2, 2)
    for weight in (1e5, float("nan"), float("inf")):
        nn.init.constant_(layer.weight, weight)
        assert refused(lambda: plain(layer, (2,), "head"), "which no 16-bit float is") is None


def test_layers_that_change_nothing_are_none() -> None:
    network = nn.Sequential(
        MLP([8, 4, 2], "GELU", dropout=0.5), Standardize(2), nn.Unflatten(1, (2, 1, 1)), nn.Identity()
    )
    layers = plain(network.eval(), (2, 2, 2), "encoder")
    assert [layer["kind"] for layer in layers] == ["linear", "GELU", "linear", "affine"]
    assert plain(Normalize(0.5, 0.25), (1, 2, 2), "normalize")[0]["kind"] == "affine"
    kinds = [layer["kind"] for layer in plain(ConvAutoencoder((3, 8, 8), [4, 4], 5).encoder, (3, 8, 8), "encoder")]
    assert kinds == ["convolution", "ReLU", "convolution", "ReLU", "linear"]


def test_nothing_but_a_playground_is_replaced(run: Path, aeprobe: Callable[..., Result]) -> None:
    page = run / "playground.html"
    page.write_text("mine")
    done = aeprobe(run)
    assert (done.status, done.out) == (1, "")
    assert done.err == f"error: {page} is there already, and no page of aeprobe: choose another --output\n"
    assert page.read_text() == "mine"
    assert not [*run.glob(".*html*")]


def test_what_it_cannot_do_is_one_line(
    run: Path, aeprobe: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run.parent)
    Path("empty").mkdir()
    for arguments, said in (
        ("run/classifier", "is a run of stage=classifier, which decodes nothing: give one of stage=all"),
        ("nowhere", "nowhere is no run directory"),
        ("run -o nowhere/page.html", "cannot be written (No such file or directory)"),
        ("run -o run", "cannot be written (Is a directory)"),
        ("empty", "empty is no run directory"),
        ("run/autoencoder/checkpoints/last.ckpt", "is a file: a playground is of a run directory"),
    ):
        done = aeprobe(*arguments.split())
        assert (done.status, done.out, done.err.count("\n")) == (1, "", 1)
        assert said in done.err
    monkeypatch.setattr(playground, "MOST_BYTES", 1_000_000)
    assert re.search(r"its networks make a page of 2\.. MB, more than 1", aeprobe("run").err)
    assert not [*run.rglob("playground.html*")]


def test_images_without_labels_and_few_of_a_class() -> None:
    labels = torch.tensor([-1] * 5 + [2] * 300 + [7])
    test = ImageDataset(torch.zeros(len(labels), 1, 2, 2, dtype=torch.uint8), labels)
    found = playground.pictures(test, seed=1)["labels"]
    assert (len(found), found.count(-1), found.count(7)) == (100, 5, 1)


def test_a_whole_experiment_writes_one_and_its_page_links_to_it(trained: Path, tmp_path: Path) -> None:
    assert 'href="playground.html"' in (trained / "report.html").read_text()
    elsewhere = write_report([trained], tmp_path / "report.html")
    assert "playground" not in elsewhere.read_text()


MINE = """
from torch import nn

class Soft(nn.Module):
    def __init__(self, shape, code):
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(784, code), nn.Softplus())
        self.decoder = nn.Sequential(nn.Linear(code, 784), nn.Sigmoid(), nn.Unflatten(1, shape))
"""


def test_a_run_whose_networks_it_cannot_compute_is_none_the_worse(tmp_path: Path, root: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "own" / "network").mkdir(parents=True)
    (tmp_path / "own" / "network" / "soft.yaml").write_text("{_target_: mine.Soft, code: 5}")
    typed = ("--config-dir", "own", *TINY, "network@autoencoder.network=soft", f"data.root={root}")
    done = train(*typed, "hydra.run.dir=run", cwd=tmp_path)
    assert (done.status, done.err) == (0, "")
    (said,) = (line for line in done.out.splitlines() if line.startswith("no playground: "))
    assert "the playground cannot compute Softplus" in said
    assert not (tmp_path / "run" / "playground.html").exists()
    assert "playground" not in (tmp_path / "run" / "report.html").read_text()
