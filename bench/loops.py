"""The loops that the Trainer is measured against, and the Trainer itself. Each calls `tick` after every step.

Stage 1 is 784-500-200-100-30 and back on batches of 100 images; stage 2 is 30-20-15-10 on their codes.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import aeprobe.runtime  # noqa: F401

import lightning as L
import torch
from hydra import compose, initialize_config_dir
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss
from torch.optim import Adam
from torch.utils.data import DataLoader
from torchvision.datasets import MNIST
from torchvision.transforms import Compose, Normalize, ToTensor

from aeprobe.config.checks import validate
from aeprobe.data.datamodule import ImageDataModule
from aeprobe.models.networks import MLP
from aeprobe.training import run as runner

CONF = Path(__file__).parents[1] / "conf"
BATCH = 100
ENCODER, HEAD = [784, 500, 200, 100, 30], [30, 20, 15, 10]

Tick = Callable[[], None]


def floor(stage: str, tick: Tick, **_: Any) -> None:
    """The matrix products that a step cannot avoid, and one fused Adam update, on buffers made beforehand."""
    widths = ENCODER + ENCODER[-2::-1] if stage == "autoencoder" else HEAD
    shapes = list(pairwise(widths))
    weights = [nn.Parameter(torch.randn(n, m) / m) for m, n in shapes]
    biases = [nn.Parameter(torch.zeros(n)) for n in widths[1:]]
    for parameter in (*weights, *biases):
        parameter.grad = torch.randn_like(parameter) / 1000
    optimizer = Adam([*weights, *biases], lr=1e-9, weight_decay=1e-5, fused=True)  # the values must not run away
    outputs = [torch.randn(BATCH, n) for n in widths]
    gradients = [torch.randn(BATCH, n) / 1000 for n in widths]
    while True:
        with torch.no_grad():
            for layer, weight in enumerate(weights):
                torch.mm(outputs[layer], weight.t(), out=outputs[layer + 1])
            for layer, weight in reversed(list(enumerate(weights))):
                assert weight.grad is not None
                torch.mm(gradients[layer + 1].t(), outputs[layer], out=weight.grad)
                if layer:
                    torch.mm(gradients[layer + 1], weight, out=gradients[layer])
        optimizer.step()
        tick()


def bare(stage: str, tick: Tick, **_: Any) -> None:
    """The same step as a plain tensor loop with fused Adam: images, or the codes of a frozen encoder."""
    data = ImageDataModule()
    data.prepare_data()
    data.setup()
    encoder = MLP(ENCODER)
    decoder = nn.Sequential(*MLP(ENCODER[::-1]), nn.Sigmoid())
    head = MLP(HEAD)
    if stage == "classifier":
        data.encode(lambda images: encoder(images.flatten(1)), ("train",))
    inputs, labels = data.splits["train"].images.flatten(1), data.splits["train"].labels
    trained = head if stage == "classifier" else nn.Sequential(encoder, decoder)
    optimizer = Adam(trained.parameters(), lr=1e-3, weight_decay=1e-5, fused=True)
    while True:
        for indices in torch.randperm(len(inputs)).split(BATCH):
            if stage == "classifier":
                loss = cross_entropy(head(inputs[indices]), labels[indices])
            else:
                images = inputs[indices].float().div_(255)
                loss = mse_loss(decoder(encoder(images)), images)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            tick()


def report(stage: str, tick: Tick, **_: Any) -> None:
    """The report's loop: each image by itself through ToTensor and Normalize, plain Adam, denormals kept."""
    torch.set_flush_denormal(False)  # before the first parallel operation, which makes the worker threads
    for _loss in _report_epochs(stage, MLP(ENCODER)):
        tick()


def report_whole(epochs: int) -> None:
    """Both stages of the report's experiment, with a pass over the test set after each epoch; nothing is drawn."""
    torch.set_flush_denormal(False)
    encoder = MLP(ENCODER)
    steps = 600 * epochs
    for stage in ("autoencoder", "classifier"):
        for _, _loss in zip(range(steps), _report_epochs(stage, encoder), strict=False):
            pass


def _report_epochs(stage: str, encoder: nn.Module) -> Iterator[float]:
    ImageDataModule().prepare_data()
    transform = Compose([ToTensor(), Normalize((0.0,), (1.0,))])
    train = DataLoader(MNIST("data", train=True, transform=transform), batch_size=BATCH, shuffle=True)
    test = DataLoader(MNIST("data", train=False, transform=transform), batch_size=BATCH, shuffle=True)
    if stage == "classifier":
        encoder.requires_grad_(False)
        model = nn.Sequential(encoder, MLP(HEAD))
    else:
        model = nn.Sequential(encoder, *MLP(ENCODER[::-1]), nn.Sigmoid())
    optimizer = Adam([p for p in model.parameters() if p.requires_grad], lr=1e-3, weight_decay=1e-5)

    def loss_of(images: Tensor, labels: Tensor) -> Tensor:
        outputs = model(images.flatten(1))
        return cross_entropy(outputs, labels) if stage == "classifier" else mse_loss(outputs, images.flatten(1))

    while True:
        for batch in train:
            loss = loss_of(*batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            yield loss.item()
        with torch.no_grad():
            for batch in test:
                loss_of(*batch)


class Ticks(L.Callback):
    """Count the optimizer's steps."""

    def __init__(self, tick: Tick) -> None:
        self.tick = tick

    def on_before_optimizer_step(self, *_: Any) -> None:
        """One more."""
        self.tick()


def ours(stage: str, tick: Tick, *, batches: int | None, ckpt: str | None, outputs: str) -> None:
    """The real run, as `python train.py` starts it, with its bar, recorder and checkpoints.

    Args:
        stage: "autoencoder" or "classifier".
        tick: called after every step.
        batches: of an epoch; None for all.
        ckpt: what stage 2 starts from.
        outputs: the run directory.
    """
    overrides = [f"stage={stage}", f"{stage}.max_epochs=10000", "trainer.progress=true"]
    overrides += [f"ckpt={ckpt}"] if ckpt else []
    # A short epoch has blocks too.
    overrides += [f"trainer.limit_train_batches={batches}"] if batches else []
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = validate(compose("config", overrides=overrides), overrides)
    runner.run(runner.Request(config, Path(outputs), overrides, callbacks=[Ticks(tick)]))


LOOPS: dict[str, Callable[..., None]] = {"floor": floor, "bare": bare, "ours": ours, "report": report}
