"""Small files that ask for more than they are large, made here: none of them is in the repository."""

import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

GB = 2**30
CONV = {"_target_": "aeprobe.models.conv.ConvAutoencoder", "code": 2}
HEAD, END = b"\x80\x02", b"."


def archive(path: Path, pickled: bytes, storages: dict[str, bytes] | None = None) -> None:
    """A checkpoint as torch writes it, of a pickle made by hand."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", pickled)
        file.writestr("archive/byteorder", "little")
        for key, content in (storages or {}).items():
            file.writestr(f"archive/data/{key}", content)
        file.writestr("archive/version", "3\n")


def call(module: str, name: str, *arguments: bytes) -> bytes:
    """The pickle of a call."""
    return HEAD + f"c{module}\n{name}\n".encode() + b"(" + b"".join(arguments) + b"tR" + END


def whole(number: int) -> bytes:
    """The pickle of a whole number."""
    packed = number.to_bytes(9, "little", signed=True)
    return b"\x8a" + bytes([len(packed)]) + packed


def shared(depth: int) -> list[Any]:
    """A list that holds 2**depth numbers, in as many lists as it is deep."""
    value: list[Any] = [0]
    for _ in range(depth):
        value = [value, value]
    return value


def endless() -> list[Any]:
    """A list that holds itself."""
    value: list[Any] = []
    value.append(value)
    return value


def storage(count: int, kind: str = "FloatStorage") -> bytes:
    """The pickle of a reference to the storage "0"."""
    words = [b"X" + struct.pack("<I", len(word)) + word.encode() for word in ("storage", "0", "cpu")]
    return b"(" + words[0] + f"ctorch\n{kind}\n".encode() + words[1] + words[2] + whole(count) + b"tQ"


def checkpoints(folder: Path, honest: dict[str, Any]) -> dict[str, Path]:
    """Hostile checkpoints by the name of what they try.

    Args:
        folder: where they are written.
        honest: the content of an autoencoder's checkpoint.
    """

    def network(change: dict[str, Any]) -> dict[str, Any]:
        settings = honest["hyper_parameters"]
        return settings | {"network": change if "_target_" in change else settings["network"] | change}

    layer = torch.zeros(1000, 1000)
    layers = {f"encoder.{2 * n}.weight": layer for n in range(800)}
    contents: dict[str, Callable[[], dict[str, Any]]] = {
        "layers that share one storage": lambda: (
            honest
            | {
                "state_dict": layers,
                "hyper_parameters": network({"widths": [784, *[1000] * 800, 30]}),
            }
        ),
        "tensors without memory": lambda: (
            honest | {"state_dict": {"encoder.0.weight": torch.empty(10**9, device="meta")}}
        ),
        "lists nested forty deep": lambda: honest | {"callbacks": {"x": shared(40)}},
        "lists nested forty deep in a setting": lambda: (
            honest | {"hyper_parameters": network({"widths": shared(40)})}
        ),
        "layers as wide as memory": lambda: (
            honest | {"hyper_parameters": network({"widths": [784, 2**20, 2**20, 30]})}
        ),
        "a million layers": lambda: honest | {"hyper_parameters": network({"widths": [784, *[1] * 10**6]})},
        "channels as many as memory": lambda: (
            honest | {"hyper_parameters": network(CONV | {"channels": [2**16] * 8, "shape": [2**16, 256, 256]})}
        ),
        "images as large as memory": lambda: (
            honest
            | {
                "hyper_parameters": network(CONV | {"channels": [1] * 4, "shape": [1, 2**16, 2**16]})
                | {"shape": [1, 2**16, 2**16]}
            }
        ),
        "a class without an end": lambda: (
            honest
            | {"hyper_parameters": network({"_target_": "torch.nn.Transformer", "num_encoder_layers": 10**9})}
        ),
        "a class of the system": lambda: honest | {"hyper_parameters": network({"_target_": "os.system"})},
        "a module that runs": lambda: (
            honest | {"hyper_parameters": honest["hyper_parameters"] | {"module": {"_target_": "subprocess.run"}}}
        ),
        "a list that holds itself": lambda: honest | {"loops": endless()},
        "an expanded tensor": lambda: honest | {"state_dict": {"w": torch.zeros(1).expand(10**12)}},
    }
    pickles = {
        "a bytearray of 4 GiB": call("__builtin__", "bytearray", whole(4 * GB)),
        "a call of the system": call("posix", "system", b"X\x04\x00\x00\x00true"),
        "a million lists in one another": HEAD + b"]" * 10**6 + b"a" * (10**6 - 1) + END,
        "a place in memory that is far away": HEAD + b"Nr" + struct.pack("<I", 2**31 - 1) + END,
        "a text of 4 GB": HEAD + b"X" + struct.pack("<I", 2**32 - 1) + END,
        "bytes of 4 GB": HEAD + b"\x96" + struct.pack("<Q", 4 * GB) + END,
        "a million dictionaries": HEAD + b"(" + b"}" * (2**20 - 5) + b"t" + END,
        "more values than a checkpoint has": HEAD + b"(" + b"]" * (8 * 2**20) + b"t" + END,
        "a storage that is not there": HEAD + storage(10**12) + END,
        "nothing": b"",
        "a stack that is empty": HEAD + b"R" + END,
        "a storage of an unknown kind": HEAD + storage(1, "QInt8Storage") + END,
    }
    found = {}
    for number, (name, content) in enumerate(contents.items()):
        found[name] = folder / f"content{number}.ckpt"
        torch.save(content(), found[name])
    for number, (name, pickled) in enumerate(pickles.items()):
        found[name] = folder / f"pickle{number}.ckpt"
        archive(found[name], pickled)
    found["a pipe"] = folder / "pipe.ckpt"
    os.mkfifo(found["a pipe"])
    found["a device without an end"] = folder / "zero.ckpt"
    found["a device without an end"].symlink_to("/dev/zero")
    found["two checkpoints in one"] = folder / "two.ckpt"
    with zipfile.ZipFile(found["two checkpoints in one"], "w") as file:
        for top in ("a", "b"):
            file.writestr(f"{top}/data.pkl", HEAD + b"}" + END)
    return found
