"""`python -m bench.same_bits COMMIT`: trains an earlier commit and this tree alike, and compares what they give.

`python -m bench.same_bits --record` writes this tree's metrics into tests/training/recorded.json instead.

Both train the default, `report`, `best` and `few_labels`, 2 epochs of 30 batches with seeds 0 and 1, in turns on
this machine. Weights must be the same to the bit, metrics to a relative 1e-6; exits 1 where they are not.
"""

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

REPO = Path(__file__).parents[1]
RECORDED = REPO / "tests" / "training" / "recorded.json"
PRESETS = (None, "report", "best", "few_labels")
SEEDS = (0, 1)
STAGES = ("autoencoder", "classifier")
SHORT = ("trainer.limit_train_batches=30", "trainer.limit_epochs=2", "trainer.figures=false", "trainer.threads=1")
TOLERANCE = 1e-6  # relative, of a metric


def main(arguments: list[str]) -> int:
    """Compare, and return the exit status."""
    if len(arguments) != 1:
        print("usage: python -m bench.same_bits COMMIT", file=sys.stderr)
        return 2
    if arguments == ["--record"]:
        with tempfile.TemporaryDirectory() as folder:
            recorded = {(p, s): train(REPO, Path(folder), p, s) for p in PRESETS for s in SEEDS}
            found = {
                f"{p or 'default'} {s}": {n: metrics(run / n) for n in STAGES} for (p, s), run in recorded.items()
            }
        RECORDED.write_text(json.dumps(found, indent=1) + "\n")
        return 0
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        earlier = place / "earlier"
        subprocess.run(
            ["git", "worktree", "add", "--quiet", "--detach", earlier, arguments[0]], cwd=REPO, check=True
        )
        try:
            for preset in PRESETS:
                for seed in SEEDS:
                    runs = [train(tree, place, preset, seed) for tree in (earlier, REPO)]
                    differences = [*compare(*runs)]
                    failed += bool(differences)
                    print(preset or "default", f"seed {seed}:", "; ".join(differences) or "the same", flush=True)
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", earlier], cwd=REPO, check=True)
    return int(failed > 0)


def train(tree: Path, place: Path, preset: str | None, seed: int) -> Path:
    """Train both stages with the code of a tree, and return the run's directory."""
    run = place / f"{tree.name}-{preset}-{seed}"
    command = [sys.executable, "train.py", *([f"experiment={preset}"] if preset else []), f"seed={seed}", *SHORT]
    where = [f"hydra.run.dir={run}", f"data.root={place / 'data'}"]
    environment = os.environ | {"PYTHONPATH": str(tree / "src")}
    done = subprocess.run(
        [*command, *where], cwd=tree, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed in {tree.name}: {done.stderr.strip().rpartition(chr(10))[2]}")
    return run


def compare(one: Path, other: Path) -> Iterator[str]:
    """Yield every difference between two runs, in words."""
    for stage in STAGES:
        first, second = (_weights(run / stage) for run in (one, other))
        unlike = [name for name in first.keys() | second.keys() if not _equal(first, second, name)]
        if unlike:
            yield f"{stage}: {len(unlike)} of {len(first)} weights differ"
        before, now = (metrics(run / stage) for run in (one, other))
        for name in sorted(before.keys() & now.keys()):
            if not math.isclose(before[name], now[name], rel_tol=TOLERANCE):
                yield f"{stage}: {name} was {before[name]!r}, is {now[name]!r}"
        if gone := sorted(before.keys() - now.keys()):
            yield f"{stage}: {', '.join(gone)} is gone"


def _weights(run: Path) -> Mapping[str, torch.Tensor]:
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)  # noqa: TID251
    weights: Mapping[str, torch.Tensor] = checkpoint["state_dict"]
    return weights


def _equal(first: Mapping[str, torch.Tensor], second: Mapping[str, torch.Tensor], name: str) -> bool:
    return name in first and name in second and torch.equal(first[name], second[name])


def metrics(run: Path) -> dict[str, float]:
    """Return every number of the epochs and of the end, but seconds, by name."""
    said: dict[str, Any] = json.loads((run / "metrics.json").read_text())
    rows = {f"epoch {row['epoch']} {name}": value for row in said["epochs"] for name, value in row.items()}
    rows |= {f"final {name}": value for name, value in said["final"].items()}
    return {name: value for name, value in rows.items() if isinstance(value, float) and "seconds" not in name}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
