"""`make bench`: a table on the terminal, and everything measured in a JSON file."""

import argparse
import json
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from aeprobe.errors import AeprobeError, tell
from aeprobe.files import write_atomically
from bench import processes, scale, stages, table

SCHEMA = 1


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        result = measure(options)
    except AeprobeError as error:
        tell(str(error))
        return 1
    path = Path(options.json)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(result, indent=1).encode())
    table.show(result)
    print(f"all of it: {path}")
    return 0


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Measure all that was asked for, as it stands in the JSON file."""
    plan = stages.QUICK if options.quick else stages.DEFAULT
    rounds = 2 if options.quick else 5
    return {
        "schema": SCHEMA,
        "machine": machine(),
        "versions": {name: version(name) for name in ("torch", "torchvision", "lightning", "aeprobe")},
        "threads": options.threads or len(os.sched_getaffinity(0)),
        "plan": vars(plan),
        "stages": stages.measure(plan, options.threads),
        "start-up": processes.start_up(rounds),
        "memory": processes.memory(),
        "whole": processes.whole(options.pairs, options.threads) if options.full else None,
        "scale": scale.measure() if options.scale else None,
    }


def machine() -> dict[str, Any]:
    """Name the machine."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.partition(": ")[2] for line in info.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"processor": model, "cores": os.cpu_count(), "memory": memory, "system": platform.system()}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    extent = parser.add_mutually_exclusive_group()
    extent.add_argument("--quick", action="store_true", help="short epochs: under a minute")
    extent.add_argument("--full", action="store_true", help="the whole experiment beside the report's loop too")
    parser.add_argument("--pairs", type=int, default=1, metavar="N", help="of whole experiments, with --full")
    parser.add_argument("--scale", action="store_true", help="15,000 to 600,000 images too: five more minutes")
    parser.add_argument("--threads", type=int, metavar="N", help="per tensor operation (default: torch's choice)")
    parser.add_argument("--json", default="outputs/benchmark.json", metavar="FILE", help="(default: %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
