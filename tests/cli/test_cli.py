"""The command line as a person meets it: help, wrong input, quoting, directories."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPO, TYPED, metrics, train
from finished_runs import write_run
from hydra import compose, initialize_config_dir

from aeprobe.cli.train import _say_result
from aeprobe.config.checks import validate
from aeprobe.paths import typed_command

# What is typed, and words that the one line must hold: what is wrong, what was given, what to do.
REFUSED = [
    ("+autoencoder.lr=3", ["autoencoder.lr: no such key; did you mean autoencoder.optimizer.lr?"]),
    ("+trainer.max_steps=1", ["trainer.max_steps: no such key", "did you mean"]),
    ("autoencoder.optimizer.lrr=1", ["autoencoder.optimizer.lrr", "did you mean autoencoder.optimizer.lr?"]),
    ("autoencoder=variational autoencoder.bta=2", ["autoencoder.bta", "did you mean autoencoder.beta?"]),
    ("callbacks=early_stopping", ["callbacks: no such key", "callbacks@autoencoder.callbacks=NAME"]),
    ("+network=conv", ["network: no such key", "network@autoencoder.network=NAME"]),
    ("network@autoencoder.network=resnet", ["network/resnet: no such file", "conv, mlp"]),
    ("experiment=repotr", ["experiment/repotr", "report, report_softmax"]),
    ("autoencoder.optimizer=adamw", ["optimizer@autoencoder.optimizer=NAME"]),
    ("autoencoder=3", ["autoencoder=3", "name of a file"]),
    ("--config-name=report", ["report: no such file in conf/", "experiment=NAME"]),
    ("~seed", ["seed: has no value", "seed=VALUE"]),
    ("seed=1.5", ["seed=1.5", "Integer"]),
    ("seed=${oc.env:NOWHERE}", ["seed", "NOWHERE"]),
    ("seed=4294967296", ["seed=4294967296", "between 0 and 4294967295"]),
    ("stage=tset", ["stage=tset", "all, autoencoder, classifier, test"]),
    ("autoencoder.batch_size=2147483648", ["autoencoder.batch_size=2147483648", "below 2147483648"]),
    ("classifier.max_epochs=0", ["classifier.max_epochs=0", "at least 1"]),
    ("trainer.threads=1048576", ["trainer.threads=1048576", "from 1 to 1024"]),
    ("trainer.accelerator=abacus", ["trainer.accelerator=abacus", "cpu"]),
    ("trainer.limit_train_batches=1.5", ["trainer.limit_train_batches=1.5", "fraction"]),
    ("trainer.max_time=1h", ["trainer.max_time=1h", "such as 00:01:30:00"]),
    ("classifier.class_weights=fair", ["classifier.class_weights=fair", "one of null, balanced"]),
    ("data.val_size=-1", ["data.val_size=-1"]),
    ("data.std=0", ["data.std=0", "above 0"]),
    ("autoencoder.optimizer.lr=0", ["autoencoder.optimizer.lr=0", "above 0"]),
    ("autoencoder.optimizer.lr=abc", ["autoencoder.optimizer.lr=abc", "number"]),
    ("classifier.optimizer.weight_decay=-1", ["classifier.optimizer.weight_decay=-1", "0 or more"]),
    ("autoencoder.optimizer.betas=[0.9,1.0]", ["autoencoder.optimizer (Adam): Invalid beta"]),
    ("autoencoder.optimizer._target_=torch.optim.LBFGS", ["torch.optim.LBFGS", "gradients alone"]),
    ("autoencoder.network.widths=[784]", ["autoencoder.network: widths=[784]", "two or more"]),
    ("autoencoder.network.widths=[785,30]", ["widths=[785, 30]", "must begin with 784, or auto"]),
    ("autoencoder.network.activation=relu", ["autoencoder.network: activation=relu", "ReLU"]),
    ("corruption@autoencoder.corruption=masking autoencoder.corruption.share=1", ["share=1: must be above 0 and"]),
    ("stage=classifier", ["needs ckpt=", "ckpt=outputs/autoencoder/RUN"]),
    ("stage=test", ["needs ckpt=", "ckpt=outputs/classifier/RUN"]),
    ("stage=classifier ckpt=nowhere", ["ckpt=nowhere", "no such file or directory"]),
    ("stage=classifier ckpt=empty", ["ckpt=empty", "holds no checkpoint"]),
    ("stage=autoencoder ckpt=empty", ["ckpt=empty", "drop ckpt="]),
    ("stage=autoencoder classifier.max_epochs=3", ["classifier.max_epochs=3", "does not train the classifier"]),
    ("stage=autoencoder optimizer@classifier.optimizer=sgd", ["does not train the classifier"]),
    ("seed=1 trainer=debug seed=2", ["seed=1 and seed=2: seed is given twice; give it once"]),
    ("outputs=it's", ["outputs=it's", "or a quote in it"]),
    ("outputs=a_file", ["a_file", "choose another"]),
    ("ckpt=a=b", ["mismatched input '='", "quote"]),
    ("resume=a,b", ["resume=a,b", "expected one run"]),
    ("resume=", ["resume=", "expected one run"]),
    ("-m sweep=a/b", ["sweep=a/b", "folder's name"]),
    ("--config-dir nope", ["nope' not found"]),
    ("--run -m seed=0,1", ["Only one of --run, --multirun"]),
]


@pytest.mark.parametrize(("typed", "words"), REFUSED, ids=[typed[:60] for typed, _ in REFUSED])
def test_wrong_input_gets_one_line_and_leaves_nothing(tmp_path: Path, typed: str, words: list[str]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a_file").write_text("not a directory")
    result = train(*typed.split(), cwd=tmp_path)
    assert result.status == 1
    assert result.out == ""
    assert result.err.startswith("error: ")
    assert result.err.count("\n") == 1, result.err
    for word in words:
        assert word in result.err
    left = {path.name for path in tmp_path.iterdir()}
    assert left <= {"a_file", "empty", "data"}  # MNIST is unpacked before a network is built


def test_the_person_can_ask_for_the_traceback(tmp_path: Path) -> None:
    result = train("seed=-1", cwd=tmp_path, environment={"HYDRA_FULL_ERROR": "1"})
    assert result.status == 1
    assert "Traceback" in result.err
    assert "seed=-1" in result.err


def test_help_and_the_printed_configuration_need_no_torch(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('torch was imported')")
    path = {"PYTHONPATH": str(tmp_path)}
    shown = train("--help", cwd=tmp_path, environment=path)
    assert shown.status == 0
    for word in ("stage=all", "stage=autoencoder", "stage=classifier", "stage=test", "report, report_softmax"):
        assert word in shown.out
    assert shown.out.count(f"  {TYPED}") == 5
    printed = train("--cfg", "job", "experiment=report", cwd=tmp_path, environment=path)
    assert printed.status == 0
    assert "val_size: 0" in printed.out
    refused = train("seed=-1", cwd=tmp_path, environment=path)
    assert "seed=-1" in refused.err


def test_an_accelerator_that_is_not_here(tmp_path: Path, root: Path) -> None:
    import torch

    missing = "mps" if torch.cuda.is_available() else "gpu"
    result = train(f"trainer.accelerator={missing}", f"data.root={root}", cwd=tmp_path)
    assert result.status == 1
    assert result.err.startswith(f"error: trainer.accelerator={missing}")
    assert "trainer.accelerator=cpu" in result.err
    assert result.err.count("\n") == 1
    assert not (tmp_path / "outputs").exists()


def test_a_data_root_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "a_file").write_text("")
    result = train("data.root=a_file", cwd=tmp_path)
    assert result.status == 1
    assert result.err == "error: a_file/MNIST/raw: cannot be used (Not a directory); choose another path\n"


@pytest.mark.slow
def test_a_value_may_stand_for_another(tmp_path: Path, root: Path) -> None:
    arguments = (
        "trainer.limit_train_batches=1",
        "trainer.figures=false",
        f"data.root={root}",
        "hydra.run.dir=run",
    )
    result = train(
        "autoencoder.max_epochs=1",
        "classifier.max_epochs=${autoencoder.max_epochs}",
        "autoencoder.batch_size=${oc.decode:'50'}",  # computed once, when it begins
        *arguments,
        cwd=tmp_path,
    )
    assert result.status == 0, result.err
    found = metrics(tmp_path / "run" / "classifier")
    assert found["config"]["classifier"]["max_epochs"] == len(found["epochs"]) == 1
    assert found["config"]["autoencoder"]["batch_size"] == 50
    assert "classifier.max_epochs=${autoencoder.max_epochs}" in found["overrides"]
    again = train("resume=run", cwd=tmp_path)
    assert again.status == 0, again.err


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("ckpt=notes.ckpt", "ckpt=notes.ckpt: is not a checkpoint"),
        ("ckpt=RUN/classifier", "holds a classifier, but stage=classifier starts from an autoencoder"),
        ("ckpt=RUN autoencoder.network.widths=[784,64,30]", "widths=[784, 500, 200, 100, 30]; drop the override"),
    ],
    ids=["no checkpoint", "wrong stage", "other architecture"],
)
def test_a_checkpoint_that_does_not_serve(
    tmp_path: Path, root: Path, trained: Path, typed: str, words: str
) -> None:
    (tmp_path / "notes.ckpt").write_text("not a checkpoint")
    arguments = typed.replace("RUN", str(trained)).split()
    result = train("stage=classifier", *arguments, f"data.root={root}", cwd=tmp_path)
    assert result.status == 1
    assert result.err.startswith("error: ")
    assert result.err.count("\n") == 1, result.err
    assert words in result.err
    assert [path.name for path in tmp_path.iterdir()] == ["notes.ckpt"]


@pytest.mark.parametrize(
    ("program", "python", "train_command", "report_command"),
    [
        ("train.py", "python", "python train.py", "python -m aeprobe report"),
        ("../a b/train.py", "bin/python", "bin/python '../a b/train.py'", "bin/python -m aeprobe report"),
        ("/x/aeprobe/__main__.py", "python3", "python3 -m aeprobe train", "python3 -m aeprobe report"),
        ("/nowhere/bin/aeprobe", "/x/python", "/nowhere/bin/aeprobe train", "/nowhere/bin/aeprobe report"),
        ("/x/ipykernel_launcher.py", "/x/python", "/x/python -m aeprobe train", "/x/python -m aeprobe report"),
    ],
)  # fmt: skip
def test_a_printed_command_begins_as_what_was_typed(
    program: str, python: str, train_command: str, report_command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [program])
    monkeypatch.setattr(sys, "orig_argv", [python, program])
    assert (typed_command(), typed_command("report")) == (train_command, report_command)


@pytest.mark.parametrize(
    ("typed", "evaluated", "said"),
    [
        ("stage=all", False, ["next: open ./-run/report.html in a browser"]),
        ("stage=autoencoder", False, ["next: python train.py stage=classifier 'ckpt=\"-run\"'"]),
        (
            "stage=autoencoder autoencoder.network._target_=mine.Net",
            False,
            ["next: python train.py stage=classifier 'ckpt=\"-run\"' 'plugins=[mine]'"],
        ),
        ("stage=classifier classifier.encoder=random", False, ["next: python -m aeprobe report ./-run"]),
        ("stage=test ckpt=x", False, []),
        ("stage=test ckpt=x", True, ["next: open ./-run/report.html in a browser"]),
    ],
)
def test_what_comes_next_is_what_one_wants(
    typed: str, evaluated: bool, said: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """After a whole experiment the page, after stage 1 stage 2; after a test no second one."""
    monkeypatch.setattr(sys, "argv", ["train.py"])
    monkeypatch.setattr(sys, "orig_argv", ["python", "train.py"])
    monkeypatch.setattr(
        "aeprobe_tools.use.playground.write_playground", lambda *_, **__: Path("-run/playground.html")
    )
    monkeypatch.setattr("aeprobe_tools.report.page.write_report", lambda *_, **__: Path("-run/report.html"))
    with initialize_config_dir(str(REPO / "conf"), version_base="1.3"):
        config = validate(compose("config", overrides=typed.split()))
    of_stage = {"checkpoint": "best", "final": {}, "evaluations": {"a": {}} if evaluated else {}}
    with caplog.at_level("INFO", "aeprobe"):
        _say_result(config, Path("-run"), {"autoencoder": of_stage})
    assert [line for line in caplog.messages if line.startswith("next: ")] == said


def test_after_a_multirun_comes_the_table(tmp_path: Path) -> None:
    done = train("-m", "seed=-1", "sweep=s", cwd=tmp_path)
    words = "next: python -m aeprobe results outputs/sweeps/s"
    assert [line for line in done.out.splitlines() if line.startswith("next: ")] == [words]


def shell(line: str, cwd: Path, **environment: str) -> tuple[int, str]:
    """The exit status of the first command of a pipe, and what came on standard error."""
    done = subprocess.run(
        ["bash", "-c", f"{line}; exit ${{PIPESTATUS[0]}}"],
        cwd=cwd,
        env=os.environ | {"PYTHON": sys.executable} | environment,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.mark.slow
def test_a_table_whose_reader_has_gone_ends_silently(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / f"run{seed}", seed) for seed in range(3)]
    names = " ".join(map(str, runs))
    for form in ("", "--json"):
        status, err = shell(f"(sleep 1; exec $PYTHON -m aeprobe results {names} {form}) | true", tmp_path)
        assert status in (1, 141)  # 1: rich, which draws the table, has its own word
        assert "rror" not in err


def test_hydra_full_error_is_asked_for_by_1_alone(tmp_path: Path) -> None:
    done = train("seed=-1", cwd=tmp_path, environment={"HYDRA_FULL_ERROR": "0"})
    assert done.err == "error: seed=-1: must be between 0 and 4294967295\n"
