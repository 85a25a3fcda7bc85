"""Simple classifiers on codes: the numbers are scikit-learn's, the draws are the seed's."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import metrics, run_here, train
from page_reader import made
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from aeprobe import load
from aeprobe.data.datamodule import ImageDataModule
from aeprobe.data.sampler import labelled
from aeprobe.errors import AeprobeError
from aeprobe_tools.evaluations.probe import _scaled
from aeprobe_tools.results.folding import find_runs, summarize

FEW = ("probe.labels=[10,200]", "probe.draws=2", "trainer.progress=true")


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory, trained: Path, root: Path) -> Path:
    path = tmp_path_factory.mktemp("probe")
    done = train(
        "stage=probe", f"ckpt={trained}", f"data.root={root}", *FEW, "seed=4", "hydra.run.dir=probe", cwd=path
    )
    assert done.status == 0, done.err
    return path / "probe"


def rows(run: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = metrics(run)["evaluations"]["probe"]["rows"]
    return found


def test_its_accuracies_are_those_of_scikit_learn(probed: Path, trained: Path, root: Path) -> None:
    data = ImageDataModule(root=str(root), split_seed=3)
    data.setup()
    module = load(trained / "autoencoder")
    train_, test = data.splits["train"], data.splits["test"]
    with torch.no_grad():
        known, asked = (
            torch.cat([module.encode(part) for part in split.images.split(1000)]).numpy()
            for split in (train_, test)
        )
    spread = np.sqrt(known.var(0).mean())
    known, asked = (known - known.mean(0)) / spread, (asked - known.mean(0)) / spread
    for count in (10, 200):
        expected: dict[str, list[float]] = {"neighbours": [], "logistic": []}
        right: dict[str, list[Any]] = {"neighbours": [], "logistic": []}
        for draw in range(2):
            chosen = labelled(train_.labels, count, 4000 + draw).numpy()
            labels = train_.labels[chosen].numpy()
            assert np.bincount(labels).tolist() == [count // 10] * 10
            for name, classifier in (
                ("neighbours", KNeighborsClassifier(min(5, count // 10))),
                ("logistic", LogisticRegression(max_iter=200, tol=1e-3)),
            ):
                right[name].append(classifier.fit(known[chosen], labels).predict(asked) == test.labels.numpy())
                expected[name].append(right[name][-1].mean())
        for row in rows(probed):
            if (row["features"], row["labels"]) == ("codes", count):
                assert row["accuracies"] == pytest.approx(expected[row["method"]], abs=0.02), row["method"]
                assert row["mean"] == pytest.approx(np.mean(row["accuracies"]))
                assert row["sd"] == pytest.approx(np.std(row["accuracies"], ddof=1))
                assert row["n"] == 2
                parts = {"students": slice(5000), "employees": slice(5000, 10_000)}
                halves = {
                    name: np.mean([draw[part].mean() for draw in right[row["method"]]])
                    for name, part in parts.items()
                }
                assert row["parts"] == pytest.approx(halves, abs=0.02)
                assert sum(row["parts"].values()) / 2 == pytest.approx(row["mean"])


def test_it_has_a_row_for_each_of_four_features_and_two_methods(probed: Path) -> None:
    found = [(row["features"], row["method"], row["labels"]) for row in rows(probed)]
    assert len(found) == len({*found}) == 4 * 2 * 2
    assert {features for features, *_ in found} == {"codes", "pixels", "pca", "random"}
    assert all(0 < accuracy < 1 for row in rows(probed) for accuracy in row["accuracies"])
    pixels = {row["labels"]: row["mean"] for row in rows(probed) if row["features"] == "pixels"}
    assert pixels[200] > pixels[10] + 0.1
    final = metrics(probed)["final"]
    ours = {(row["method"], row["labels"]): row["mean"] for row in rows(probed) if row["features"] == "codes"}
    short = {"neighbours": "knn", "logistic": "logistic"}
    assert final == {f"test/{short[method]}_accuracy_{labels}": mean for (method, labels), mean in ours.items()}


def test_table_page_and_figure_show_it(probed: Path) -> None:
    (row,) = summarize(find_runs([probed]))
    name = "test/logistic_accuracy_200"
    assert row["metrics"][name]["mean"] == metrics(probed)["final"][name]
    page = made(probed)
    assert "Simple classifiers on an encoder's codes: MNIST" in page.text
    assert "Logistic regression on the codes" in page.text
    assert "Accuracy of nearest neighbours" in page.text
    assert "code, students" in page.text
    assert "no writer of a test image did" in page.text
    figure = json.loads((probed / "figures" / "probe.json").read_text())
    assert figure["data"]["logistic, PCA"][0][0] == 10


def test_features_are_divided_by_the_root_of_their_mean_variance() -> None:
    known = np.random.default_rng(0).normal(3, 100, (75, 20)).astype(np.float32)
    scaled, asked = _scaled(known.copy(), known[:3].copy())
    assert np.sqrt(np.square(scaled).mean()) == pytest.approx(1, abs=1e-5)
    assert np.allclose(scaled[:3], asked)


@pytest.mark.slow
def test_all_labels_are_one_draw(trained: Path, root: Path, tmp_path: Path) -> None:
    typed = ["stage=probe", f"ckpt={trained}/classifier", f"data.root={root}", "probe.draws=3"]
    run_here(tmp_path / "probe", [*typed, "probe.labels=[null,1000]", "trainer.figures=false"])
    found = {(r["features"], r["method"], r["labels"]): r for r in rows(tmp_path / "probe")}
    assert [(r["n"], r["sd"] is None) for r in rows(tmp_path / "probe") if r["labels"] is None] == [(1, True)] * 8
    assert found["pixels", "neighbours", None]["mean"] == pytest.approx(0.967, abs=0.004)
    assert found["pca", "neighbours", None]["mean"] == pytest.approx(0.974, abs=0.004)


REFUSED = {
    "probe.labels=[5]": "probe.labels=5: the labels have 10 classes",
    "probe.labels=[60000]": "probe.labels=60000: class . has .* training images, fewer than its share",
    "probe.labels=[]": r"probe: labels=\[\]: must be numbers above 0",
    "probe.draws=0": "probe: draws=0: must be from 1 to 1000",
    "++probe.neighbour=3": "takes no such argument; did you mean neighbours?",
    "autoencoder.batch_size=3": "stage=probe does not train the autoencoder",
}


@pytest.mark.parametrize("typed", REFUSED)
def test_what_cannot_be_is_refused(typed: str, trained: Path, root: Path, tmp_path: Path) -> None:
    with pytest.raises(AeprobeError, match=REFUSED[typed]) as caught:
        run_here(tmp_path / "run", ["stage=probe", f"ckpt={trained}", f"data.root={root}", *typed.split()])
    assert "\n" not in str(caught.value)
    assert not any(tmp_path.iterdir())


def test_another_stage_asks_no_probe(root: Path, tmp_path: Path) -> None:
    with pytest.raises(AeprobeError, match=r"probe\.draws=3: has no effect with stage=autoencoder"):
        run_here(tmp_path / "run", ["stage=autoencoder", "probe.draws=3", f"data.root={root}"])
