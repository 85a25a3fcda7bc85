"""A person's own evaluation: one class and one YAML, and it is in metrics.json, TensorBoard and on the page."""

from pathlib import Path

import pytest
from conftest import metrics, train
from finished_runs import config, write_stage
from finished_runs import metrics as made
from page_reader import Page
from page_reader import made as page
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

CLASS = """
from aeprobe.evaluation import Evaluation, Findings
from aeprobe_tools.figures.charts import Drawing, new_axes
from aeprobe_tools.pages import BEYOND, Table, Text


class Darkness(Evaluation):
    def __init__(self, below: int) -> None:
        self.below = below

    def __call__(self, subject):
        share = (subject.splits["test"].images < self.below).float().mean().item()
        return Findings({"share": share}, {"test/dark": share})

    def figures(self, found):
        yield "darkness", lambda: Drawing([], "Dark", "Dark pixels.", new_axes("Dark", "x", "y")[0], found.numbers)

    @classmethod
    def page(cls, numbers):
        yield Text("How dark it is", f"A share of {numbers['share']:.3f} is dark.")
        yield Table(BEYOND, "Dark pixels", ["", "Share"], [["all", f"{numbers['share']:.3f}"]])
        yield "darkness"
"""


def test_one_class_and_one_yaml_are_in_the_metrics_tensorboard_and_on_the_page(root: Path, tmp_path: Path) -> None:
    (tmp_path / "own_evaluations.py").write_text(CLASS)
    node = "darkness:\n  _target_: own_evaluations.Darkness\n  below: 50\n"
    group = tmp_path / "conf" / "evaluation"
    group.mkdir(parents=True)
    (group / "darkness.yaml").write_text(node)
    typed = (
        "stage=autoencoder",
        "trainer=debug",
        "trainer.evaluate=true",
        f"data.root={root}",
        "hydra.run.dir=run",
    )
    own = (f"hydra.searchpath=[file://{tmp_path}/conf]", "evaluation@autoencoder.evaluations=darkness")
    done = train(*typed, *own, cwd=tmp_path)
    assert done.status == 0, done.err
    found = metrics(tmp_path / "run")
    share = found["evaluations"]["darkness"]["share"]
    assert 0.7 < share < 0.9
    assert (found["final"]["test/dark"], found["higher_is_better"]["dark"]) == (share, True)
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert [event.value for event in events.Scalars("test/dark")] == [pytest.approx(share)]
    assert "figures/darkness" in events.Tags()["images"]
    shown = Page(tmp_path / "run" / "report.html")
    assert f"A share of {share:.3f} is dark." in shown.text
    assert shown.table("Beyond the report · Dark pixels") == {"all": [f"{share:.3f}"], "": ["Share"]}
    assert "Dark pixels." in [picture["alt"] for picture in shown.pictures]


def test_the_class_of_somebody_else_s_run_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hostile.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    nodes = {"dark": {"_target_": "hostile.Darkness"}}
    of = made("autoencoder", config=config(autoencoder__evaluations=nodes), evaluations={"dark": {"share": 1}})
    text = page(write_stage(tmp_path / "run", of, figures=False)).text
    assert "if you trust hostile, add plugins=[hostile]" in text
