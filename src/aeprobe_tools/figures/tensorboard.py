"""Pictures, graph and projector for TensorBoard; docs/RUNS.md lists all tags."""

import struct
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import aeprobe.runtime  # noqa: F401

import torch
from tensorboard.compat.proto.summary_pb2 import Summary
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad
from torch.utils.tensorboard import SummaryWriter

from aeprobe.data.sampler import evenly_spaced
from aeprobe.models.autoencoder import Autoencoder
from aeprobe.models.classifier import Classifier

NETWORKS = ("normalize", "encoder", "decoder", "head")
PROJECTED = 1_000
MOST_SPRITE = 128  # pixels of a side: a browser takes no picture of all that is larger than 8192
RGBA = 4


def add_png(writer: SummaryWriter, tag: str, png: bytes, step: int) -> None:
    """Add a file's bytes as they are: add_figure would draw the figure, and compress it, once more."""
    width, height = struct.unpack(">2I", png[16:24])  # as its header says
    image = Summary.Image(width=width, height=height, colorspace=RGBA, encoded_image_string=png)
    file: Any = writer._get_file_writer()  # opens it where the Trainer has closed it
    file.add_summary(Summary(value=[Summary.Value(tag=tag, image=image)]), step)


def add_graph(writer: SummaryWriter, module: Autoencoder | Classifier) -> None:
    """Add a stage's networks, one after the other."""
    layers = dict(module.named_children())
    network = nn.Sequential(OrderedDict((name, layers[name]) for name in NETWORKS if name in layers))
    weight = next(network.parameters())
    with torch.no_grad():
        writer.add_graph(network, weight.new_zeros(1, *module.shape))


def add_projector(writer: SummaryWriter, codes: Tensor, words: Sequence[str], images: Tensor, step: int) -> None:
    """Add a thousand of the codes, (N, code), with their classes and images, uint8, of as many or more."""
    chosen = evenly_spaced(len(codes), PROJECTED)
    codes, sprite = codes[chosen], images[chosen].float() / 255
    if sprite.shape[1] != 3:
        sprite = sprite[:, :1]
    side = max(sprite.shape[2:])
    sprite = pad(sprite, (0, side - sprite.shape[3], 0, side - sprite.shape[2]))  # it takes squares
    if side > MOST_SPRITE:
        sprite = interpolate(sprite, size=(MOST_SPRITE, MOST_SPRITE), mode="area")
    names = [words[place].replace("\t", " ").replace("\n", " ") for place in chosen.tolist()]  # a line each
    writer.add_embedding(codes, metadata=names, label_img=sprite, tag="codes", global_step=step)
