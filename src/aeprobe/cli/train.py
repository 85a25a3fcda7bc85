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
    """Run one run, or one job of a multirun; return its objective."""
    return cli.job(cfg)


def main(arguments: Sequence[str]) -> int:
    """Run the command line; return the exit status."""
    option = (
        "--config-path="  # of a relative one: from the working directory; to Hydra it would begin beside this file
    )
    words = [part for one in arguments for part in (one.split("=", 1) if one.startswith(option) else [one])]
    for place, one in enumerate(words[1:], 1):
        if words[place - 1] in ("--config-path", "-cp"):
            words[place] = str(absolute(home(one)))
    sys.argv[1:] = words
    return cli.run(composed)


def probe(arguments: Sequence[str]) -> int:
    """Run `stage=probe` of the run that is named first; return the exit status."""
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
