"""Whole processes: how soon they answer, what memory they take, and the experiment beside the report's loop."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aeprobe.errors import AeprobeError
from bench.stages import summary

TRAIN = Path(__file__).parents[1] / "train.py"
IMPORTS = "import aeprobe.runtime, torch, torchvision, lightning"


# A process starts with the peak of the one that started it, so a small one is put in between.
BETWEEN = """
import os, subprocess, sys, time
began = time.perf_counter()
process = subprocess.Popen([sys.executable, *sys.argv[1:]], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(time.perf_counter() - began, usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status) != 0)
"""


def run(arguments: Sequence[str]) -> tuple[float, int]:
    """Run `python ARGUMENTS`; return its seconds and its peak resident memory in bytes.

    Raises:
        AeprobeError: it failed.
    """
    command = [sys.executable, "-c", BETWEEN, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        text = done.stderr.strip().rpartition("\n")[2]
        raise AeprobeError(f"`python {' '.join(arguments)}` failed: {text}")
    seconds, peak = done.stdout.split()
    return float(seconds), int(peak) * (1 if sys.platform == "darwin" else 1024)


def start_up(rounds: int) -> dict[str, Any]:
    """Seconds of commands that train nothing; the first call of each, which fills the disk cache, is dropped."""
    commands = {
        "--help": [str(TRAIN), "--help"],
        "--cfg job": [str(TRAIN), "--cfg", "job"],
        "imports": ["-c", IMPORTS],
    }
    return {name: summary([run(command)[0] for _ in range(rounds + 1)][1:]) for name, command in commands.items()}


def memory() -> dict[str, int]:
    """Peak resident bytes of a run with both stages and all images (few steps), and of its imports alone."""
    with tempfile.TemporaryDirectory() as folder:
        short = ["trainer.limit_train_batches=20", "trainer.limit_epochs=2", f"outputs={folder}"]
        peak = run([str(TRAIN), *short])[1]
    imports = run(["-c", IMPORTS])[1]
    return {"run": peak, "imports": imports, "beyond": peak - imports}


def parts(outputs: Path, seconds: float) -> dict[str, float]:
    """Divide the seconds of a whole command by the metrics.json of its stages."""
    stages = [json.loads(file.read_text()) for file in sorted(outputs.rglob("metrics.json"))]
    steps = {stage["stage"]: sum(row["seconds"] for row in stage["epochs"]) for stage in stages}
    fit, figures, total = (sum(stage["seconds"][key] for stage in stages) for key in ("fit", "figures", "total"))
    return {
        "all": seconds,
        "steps of stage 1": steps["autoencoder"],
        "steps of stage 2": steps["classifier"],
        "outside of steps": seconds - sum(steps.values()),
        "imports, start, page": seconds - total,
        "data, validation, checkpoints, events": fit - sum(steps.values()),
        "test": total - fit - figures,
        "figures": figures,
    }


def whole(pairs: int, threads: int | None) -> dict[str, Any]:
    """The experiment as a whole process, with figures and page, beside the report's loops, pair by pair."""
    limit = [] if threads is None else [f"trainer.threads={threads}"]
    report = f"import torch; torch.set_num_threads({threads}); " if threads else ""
    report += "from bench import loops; loops.report_whole(10)"
    rounds, spent = [], []
    for _ in range(pairs):
        with tempfile.TemporaryDirectory() as folder:
            ours = run([str(TRAIN), "experiment=report", f"outputs={folder}", *limit])[0]
            spent.append(parts(Path(folder), ours))
        rounds.append((ours, run(["-c", report])[0]))
    return {
        "parts": {name: summary([of_run[name] for of_run in spent]) for name in spent[0]},
        "ours": summary([ours for ours, _ in rounds]),
        "report": summary([other for _, other in rounds]),
        "ratio": summary([other / ours for ours, other in rounds]),
    }
