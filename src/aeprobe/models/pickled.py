"""What a checkpoint's pickle may say, read before torch sees it: plain values, and tensors that the file holds.

Under `weights_only=True` torch runs no code, but it makes what it is told to make: a bytearray of 4 GiB, tensors
without memory, eight hundred layers that are one. A checkpoint of this project needs a dozen names and some
thirty opcodes; nothing else is let through.
"""

import collections
import io
import pickle
import pickletools
import zipfile
from typing import Any

from aeprobe.errors import AeprobeError

MOST_BYTES = 2**20  # of the pickle, which holds all but the tensors' numbers: some 10,000 here
MOST_VALUES = 2**20  # counted each time that they are referred to
DEPTH = 50
OPCODES = (
    "PROTO STOP MARK GLOBAL REDUCE BUILD BINPERSID NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT "
    "BINUNICODE EMPTY_DICT SETITEM SETITEMS EMPTY_LIST APPEND APPENDS EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 "
    "BINPUT LONG_BINPUT BINGET LONG_BINGET"
)
ITEM_BYTES = {
    **dict.fromkeys(("BoolStorage", "ByteStorage", "CharStorage"), 1),
    **dict.fromkeys(("ShortStorage", "HalfStorage", "BFloat16Storage"), 2),
    **dict.fromkeys(("IntStorage", "FloatStorage"), 4),
    **dict.fromkeys(("LongStorage", "DoubleStorage"), 8),
}


def check(archive: zipfile.ZipFile) -> None:
    """Reads a checkpoint's values without its tensors, and holds what they claim against what the file holds.

    Raises:
        AeprobeError: it holds something else than plain values and tensors, or less than it claims.
        Exception: it is no pickle.
    """
    entries = {entry.filename: entry.file_size for entry in archive.infolist()}
    pickles = [name for name in entries if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(pickles) != 1 or len(entries) != len(archive.infolist()):
        raise AeprobeError("is not a checkpoint, or several in one")
    if entries[pickles[0]] > MOST_BYTES:
        raise AeprobeError(f"has {entries[pickles[0]]} bytes beside its tensors; at most {MOST_BYTES} are read")
    content = archive.read(pickles[0])
    allowed = {*OPCODES.split()}
    for opcode, argument, _ in pickletools.genops(content):
        far = "PUT" in opcode.name and int(argument or 0) > MOST_BYTES  # memory would be made up to that place
        if opcode.name not in allowed or far:
            raise AeprobeError(f"is not a checkpoint of plain values: it has {opcode.name}; nothing of it was run")
    folder = pickles[0].removesuffix("data.pkl") + "data/"
    held = {name.removeprefix(folder): size for name, size in entries.items() if name.startswith(folder)}
    _require_tree(_Values(content, held).load())


class _Values(pickle.Unpickler):  # noqa: TID251 - of the opcodes above, with the names below alone
    """Makes the values, with an empty tuple in place of each tensor.

    Args:
        content: the pickle.
        held: the bytes of each storage in the file, by its key.
    """

    def __init__(self, content: bytes, held: dict[str, int]) -> None:
        super().__init__(io.BytesIO(content))
        self.held = held

    def find_class(self, module: str, name: str) -> Any:
        """A stand-in for each of the names that a checkpoint needs."""
        if module == "collections" and name in ("OrderedDict", "Counter"):  # MultiStepLR counts its milestones
            return getattr(collections, name)
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda *_: ()
        if module == "torch" and name in ITEM_BYTES:
            return name
        raise AeprobeError(f"is not a checkpoint of plain values: it names {module}.{name}; nothing of it was run")

    def persistent_load(self, claimed: Any) -> None:
        """A storage: the file holds its numbers, each for one tensor."""
        _, kind, key, _, count = claimed
        if self.held.pop(key, None) != ITEM_BYTES[kind] * count:
            raise AeprobeError(f"claims {ITEM_BYTES[kind] * count} bytes for a tensor that it does not hold alone")


def _require_tree(value: Any) -> None:
    """Raises AeprobeError where values hold themselves, or each other so often that no reader comes to an end."""
    waiting, count = [(value, 0)], 1
    while waiting:
        value, depth = waiting.pop()
        if isinstance(value, dict) and not all(isinstance(key, str | int) for key in value):
            raise AeprobeError("has a key that is neither a text nor a number")
        if isinstance(value, dict | list | tuple):
            items = value.values() if isinstance(value, dict) else value
            count += len(items)
            if count > MOST_VALUES or depth >= DEPTH:
                raise AeprobeError(f"has more than {MOST_VALUES} values, or some nested over {DEPTH} deep")
            waiting += [(item, depth + 1) for item in items]
