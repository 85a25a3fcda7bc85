"""Run directories as training leaves them, made in milliseconds."""

import json
from pathlib import Path
from typing import Any

from PIL import Image

FIGURES = {
    "autoencoder": [
        *("class_histogram", "samples", "architecture", "loss_per_epoch", "train_loss", "val_loss"),
        *("reconstructions", "codes", "pca_baseline", "best_and_worst", "error_histogram"),
    ],
    "classifier": [
        *("architecture", "loss_and_accuracy_per_epoch", "train_loss", "train_accuracy", "val_loss"),
        *("val_accuracy", "batch_accuracy", "confusion_matrix", "mistakes"),
    ],
}
OPTIMIZER = {"_target_": "torch.optim.Adam", "lr": 1e-3, "weight_decay": 1e-5}
NETWORKS = "aeprobe.models.networks"
SOURCE = {"_target_": "aeprobe.data.mnist.MNIST"}
SIZES = {"encoder": [784, 500, 200, 100, 30], "decoder": [30, 100, 200, 500, 784], "head": [30, 20, 15, 10]}
PARTS = {"autoencoder": ("encoder", "decoder"), "classifier": ("encoder", "head")}
RIGHT = [961, 1123, 965, 918, 925, 788, 915, 944, 846, 907]  # 9292 of 10,000
WRONG = [19, 12, 67, 92, 57, 104, 43, 84, 128, 102]


def config(stage: str = "all", seed: int = 0, **changes: Any) -> dict[str, Any]:
    """The report's protocol; `changes` are by dotted key, with two underscores for a dot."""
    both = {"batch_size": 100, "max_epochs": 10, "scheduler": {"_target_": None}}
    network = {
        "_target_": f"{NETWORKS}.MLPAutoencoder",
        "widths": ["auto", 500, 200, 100, 30],
        "activation": "ReLU",
    }
    head = {"_target_": f"{NETWORKS}.MLP", "widths": ["auto", 20, 15, "auto"], "activation": "ReLU"}
    plain = {"initialization": "torch", "dropout": 0.0, "batch_norm": False}
    made: dict[str, Any] = {
        "stage": stage,
        "seed": seed,
        "ckpt": None,
        "outputs": "outputs",
        "sweep": f"2026-01-0{seed + 1}",
        "autoencoder": both | {"network": network | plain, "optimizer": OPTIMIZER.copy()},
        "classifier": both | {"head": head | plain, "optimizer": OPTIMIZER.copy(), "loss_on": "logits"},
        "data": {"name": "mnist", "source": SOURCE, "root": "data", "val_size": 0, "mean": 0.0, "std": 1.0},
        "trainer": {"progress": "auto", "threads": None, "accelerator": "auto", "limit_train_batches": None},
    }
    for key, value in changes.items():
        node, *parents = reversed(key.split("__"))
        target = made
        for parent in reversed(parents):
            target = target[parent]
        target[node] = value
    return made


def metrics(stage: str, seed: int = 0, shift: float = 0.0, **changes: Any) -> dict[str, Any]:
    """Make the metrics.json of a finished stage; `shift` is added to losses, a tenth of it to the accuracy."""
    epochs = []
    for i in range(10):
        row = {"epoch": i + 1, "seconds": 2.5}
        if stage == "autoencoder":
            row |= {"train/loss": 0.03 - 0.001 * i + shift, "train/loss_last": 0.029 - 0.001 * i + shift}
            row |= {"val/loss": 0.0295 - 0.001 * i + shift}
            row |= {key.replace("/loss", "/mse"): value for key, value in row.items() if "/loss" in key}
        else:
            row |= {"train/loss": 0.5 - 0.02 * i + shift, "train/loss_last": 0.51 - 0.02 * i}
            row |= {"train/softmax_loss_last": 1.6 - 0.01 * i, "train/accuracy": 0.85 + 0.0075 * i}
            row |= {"train/accuracy_last": 0.85 + 0.01 * i, "val/loss": 0.321}
            row |= {"val/accuracy": 0.84 + 0.0075 * i}
        epochs.append(row)
    final = {k: v for k, v in epochs[-1].items() if "/" in k and not k.endswith("_last")}
    final |= {f"test/{name}": final[f"val/{name}"] for name in ("loss", "mse") if f"val/{name}" in final}
    made: dict[str, Any] = {
        "schema": 1,
        "stage": stage,
        "status": "completed",
        "error": None,
        "seed": seed,
        "overrides": ["experiment=report", f"seed={seed}"],
        "config": config(seed=seed),
        "data": {
            **{"name": "mnist", "root": "data", "val_size": 0, "mean": 0.0, "std": 1.0},
            "images": {"train": 60000, "val": 10000, "test": 10000},
        },
        "networks": {name: {"sizes": SIZES[name]} for name in PARTS[stage]} if stage in PARTS else {},
        "epoch_size": 60000,
        "loss": "MSE per pixel" if stage == "autoencoder" else "cross-entropy",
        "higher_is_better": {},
        "versions": {"python": "3.11.7", "torch": "2.9.0"},
        "device": "cpu",
        "threads": 2,
        "ckpt": None,
        "checkpoint": "last",
        "seconds": {"total": 41.0, "fit": 40.0, "figures": 1.0},
        "epochs": epochs,
        "final": final,
    }
    if stage == "classifier":
        final["test/accuracy"] = 0.9292 + shift / 10
        matrix = [[0] * 10 for _ in range(10)]
        for digit, (right, wrong) in enumerate(zip(RIGHT, WRONG, strict=True)):
            matrix[digit][digit], matrix[digit][(digit + 1) % 10] = right, wrong
        made["confusion_matrix"] = matrix
        made["test_batch_accuracy"] = [0.9292] * 100
    return made | changes


def write_stage(path: Path, of: dict[str, Any], figures: bool = True) -> Path:
    """Write a stage's run directory."""
    path.mkdir(parents=True)
    (path / "metrics.json").write_text(json.dumps(of))
    if figures:
        (path / "figures").mkdir()
        for name in FIGURES[of["stage"]]:
            Image.new("L", (64, 32), "grey").save(path / "figures" / f"{name}.png")
            said = {"report": [], "title": f"The {name}", "alt": f"The {name} shows 42 things.", "data": {}}
            (path / "figures" / f"{name}.json").write_text(json.dumps(said))
    return path


def write_run(path: Path, seed: int = 0, shift: float = 0.0, figures: bool = True, **changes: Any) -> Path:
    """Write a run of stage=all; `changes` are of the configuration."""
    for stage in FIGURES:
        made = metrics(stage, seed, shift, config=config(seed=seed, **changes))
        write_stage(path / stage, made, figures)
    return path
