"""`aeprobe train …` and `aeprobe probe RUN …`: train.py for those who installed the package.

    aeprobe train [KEY=VALUE …] [--config-dir DIR] [--config-path DIR]

The conf/ that comes with the package is composed. YAMLs of your own lie below --config-dir, as in conf/, such as
DIR/experiment/mine.yaml for experiment=mine; --config-path names a whole conf/ instead.
"""

import sys
from collections.abc import Sequence

import hydra
from omegaconf import DictConfig

from aeprobe.cli import main as cli
from aeprobe.config.overrides import argument
from aeprobe.errors import tell
from aeprobe.paths import CONF, absolute, home


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def composed(cfg: DictConfig) -> float | None:
    """One run, or one job of a multirun; returns its objective."""
    return cli.job(cfg)


def main(arguments: Sequence[str]) -> int:
    """The command line; returns the exit status."""
    sys.argv[1:] = _from_here(arguments)
    return cli.run(composed)


def probe(arguments: Sequence[str]) -> int:
    """`stage=probe` of the run that is named first; returns the exit status."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: aeprobe probe RUN [KEY=VALUE …]", file=sys.stdout if arguments else sys.stderr)
        if arguments:
            print("\nSimple classifiers on the codes of RUN, a run directory or a .ckpt file, with few labels and")
            print("with many, as aeprobe train stage=probe ckpt=RUN.")
        return 0 if arguments else 2
    if arguments[0].startswith("-") or "=" in arguments[0].partition("/")[0]:
        tell(f"{arguments[0]}: no run; expected aeprobe probe RUN [KEY=VALUE …]")
        return 2
    return main(["stage=probe", argument("ckpt", arguments[0]), *arguments[1:]])


def _from_here(arguments: Sequence[str]) -> list[str]:
    """A --config-path begins in the working directory; to Hydra a relative one would begin beside this file."""
    found = list(arguments)
    for place, one in enumerate(found):
        name, given, value = one.partition("=")
        if name in ("--config-path", "-cp"):
            if given:
                found[place] = f"{name}={absolute(home(value))}"
            elif place + 1 < len(found):
                found[place + 1] = str(absolute(home(found[place + 1])))
    return found
