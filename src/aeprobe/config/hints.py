"""The nearest right name of a key or an option that does not exist."""

from collections.abc import Collection, Iterator, Sequence
from difflib import get_close_matches

from hydra._internal.utils import get_args_parser

from aeprobe.config.schema import OPTIMIZER_NUMBERS, keys
from aeprobe.paths import TRAIN

GROUPS = ("experiment", "search")  # beside the keys of the schema
NODES: dict[str, list[str]] = {}  # keys that a group's file fills, by the name of the group
for _key, _field in keys():
    if "dict" in str(_field.type) and "." in _key:
        NODES.setdefault(_key.rpartition(".")[2], []).append(_key)


def hint(key: str) -> str:
    """Return a clause that says what to type instead of a key that does not exist."""
    plain = key.partition("@")[0].replace("/", ".")
    root, name = plain.partition(".")[0], plain.rpartition(".")[2]
    if root == "hydra":
        return f"`{TRAIN} --cfg hydra` lists Hydra's keys"
    name = root if root in NODES else name
    if name in NODES:
        return "each stage has its own: " + ", ".join(f"{name}@{key}=NAME" for key in NODES[name])
    known = [*known_keys(), *GROUPS]
    found = nearest(plain, known)
    meant = found.removeprefix("did you mean autoencoder.").removesuffix("?")
    both = not plain.startswith("autoencoder.") and found != meant and f"classifier.{meant}" in known
    return f"{found} (or classifier.{meant})" if both else found


def unknown_option(arguments: Sequence[str]) -> str | None:
    """Return a line about an option that Hydra does not have; argparse would take the beginning of a name for it.

    >>> unknown_option(["-m", "--seed=1"])
    '--seed=1: no such option; a setting is typed without dashes, as seed=1; --help lists the options'
    """
    options = [name for action in get_args_parser()._actions for name in action.option_strings]
    for argument in arguments:
        name, given, _ = argument.partition("=")
        if name == "--experimental-rerun":
            return f"{name}: it unpickles a file, which can run code; resume=RUN goes on with a run"
        if name not in options and name.startswith("-" if given else "--"):
            setting = f"a setting is typed without dashes, as {argument.lstrip('-') if given else 'KEY=VALUE'}"
            close = [] if given else get_close_matches(name, options, n=1, cutoff=0.8)
            meant = f"did you mean {close[0]}?" if close else f"{setting}; --help lists the options"
            return f"{argument}: no such option; {meant}"
    return None


def known_keys() -> Iterator[str]:
    """Every dotted key that can be typed: of the schema, its groups, and the optimizers in conf/optimizer."""
    yield from ("autoencoder", "classifier", "data", "trainer")
    for name, _ in keys():
        yield name
        if name.endswith(".scheduler"):
            yield f"{name}.interval"
        if name.endswith(".optimizer"):
            yield from (f"{name}.{number}" for number in OPTIMIZER_NUMBERS)


def nearest(key: str, known: Collection[str]) -> str:
    """A clause that names the known key most like `key`: the right name elsewhere, else a near spelling."""
    owner, _, name = key.rpartition(".")
    root = owner.partition(".")[0]
    elsewhere = [k for k in known if k.rpartition(".")[2] == name]
    elsewhere.sort(key=lambda k: (k.partition(".")[0] != root, k))
    beside = [k for k in known if k.partition(".")[0] == root and "." in k]
    alike = get_close_matches(name, [k.rpartition(".")[2] for k in beside or known], n=1)
    close = elsewhere or [k for k in beside or known if k.rpartition(".")[2] in alike]
    return f"did you mean {close[0]}?" if close else f"`{TRAIN} --cfg job` lists the keys"
