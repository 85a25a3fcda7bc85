"""`aeprobe train …` and `aeprobe probe RUN …`: train.py for those who installed the package.

    aeprobe train [KEY=VALUE …] [--config-dir DIR] [--config-path DIR]

The conf/ that comes with the package is composed. YAMLs of your own lie below --config-dir, as in conf/, such as
DIR/experiment/mine.yaml for experiment=mine; --config-path names a whole conf/ instead.
"""

import re
import sys
from collections.abc import Sequence

import hydra
from omegaconf import DictConfig

from aeprobe.cli import main as cli
from aeprobe.config.overrides import argument
from aeprobe.paths import CONF, absolute, home

PROBE = """usage: aeprobe probe RUN [KEY=VALUE …]

Simple classifiers on the codes of RUN, a run directory or a .ckpt file, with few labels and
with many, as aeprobe train stage=probe ckpt=RUN."""


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def composed(cfg: DictConfig) -> float | None:
    """Run one run, or one job of a multirun; return its objective."""
    return cli.job(cfg)


def main(arguments: Sequence[str]) -> int:
    """Run the command line; return the exit status."""
    words = [word for one in arguments for word in re.split("(?<=^--config-path)=", one)]
    paths = [place + 1 for place, word in enumerate(words) if word in ("--config-path", "-cp")]
    for place in paths if paths and paths[-1] < len(words) else ():
        words[place] = str(absolute(home(words[place])))  # to Hydra a relative one would begin beside this file
    sys.argv[1:] = words
    return cli.run(composed)


def probe(arguments: Sequence[str]) -> int:
    """Run `stage=probe` of the run that is named first; return the exit status."""
    if not arguments or arguments[0].startswith("-"):
        print(PROBE)
        return 0 if arguments else 2
    return main(["stage=probe", argument("ckpt", arguments[0]), *arguments[1:]])
