"""A person's own evaluation: one class and one YAML, and it is in metrics.json, TensorBoard and on the page."""

import re
from pathlib import Path

import pytest
from conftest import REPO, metrics, train
from finished_runs import config, write_stage
from finished_runs import metrics as made
from page_reader import Page
from page_reader import made as page
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

(EXAMPLE,) = re.findall(
    r"```python\n(# mine\.py\nfrom aeprobe\.evaluation.*?)```",
    (REPO / "docs" / "CONFIGURATION.md").read_text(),
    re.DOTALL,
)


def test_one_class_and_one_yaml_are_in_the_metrics_tensorboard_and_on_the_page(root: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(EXAMPLE)
    (written,) = re.findall(r"^# (conf/\S+): (.*)$", EXAMPLE, re.MULTILINE)
    (tmp_path / written[0]).parent.mkdir(parents=True)
    (tmp_path / written[0]).write_text(written[1])
    typed = (
        "stage=autoencoder",
        "trainer=debug",
        "trainer.evaluate=true",
        f"data.root={root}",
        "hydra.run.dir=run",
    )
    own = (f"hydra.searchpath=[file://{tmp_path}/conf]", *re.findall(r"evaluation@\S+", EXAMPLE))
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
    assert f"{share:.1%} of the pixels are dark." in shown.text
    assert shown.table("Beyond the report · Dark pixels") == {"all": [f"{share:.3f}"], "images": ["share"]}
    assert "A bar for their share." in [picture["alt"] for picture in shown.pictures]


def test_the_class_of_somebody_else_s_run_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hostile.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    nodes = {"dark": {"_target_": "hostile.Darkness"}}
    of = made("autoencoder", config=config(autoencoder__evaluations=nodes), evaluations={"dark": {"share": 1}})
    text = page(write_stage(tmp_path / "run", of, figures=False)).text
    assert "if you trust hostile, add plugins=[hostile]" in text
