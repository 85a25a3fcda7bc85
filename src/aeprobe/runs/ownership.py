"""Where a command writes: only into directories of its own."""

from contextlib import suppress
from pathlib import Path

from aeprobe.errors import AeprobeError
from aeprobe.paths import absolute, shortest

BEFORE_METRICS = (".lock", ".metrics.json.")  # how the files begin that a claim which was cut short may leave


def require_unused(path: Path) -> None:
    """Refuse a directory for a new run that holds a file already, or lies in the directory of a run."""
    for above in absolute(path).parents:
        if (above / "metrics.json").exists() and (above / "checkpoints").is_dir():
            raise AeprobeError(
                f"{path} lies in the directory of a run, {shortest(above)}: choose another outputs="
            )
    for entry in sorted(path.rglob("*")):
        if not entry.is_dir() and not entry.name.startswith(BEFORE_METRICS):
            held = "a run" if any(path.rglob("metrics.json")) else entry.relative_to(path).as_posix()
            raise AeprobeError(
                f"{path} already holds {held}: a new run needs a directory that is new or empty; choose another "
                "hydra.run.dir=, or sweep= for a multirun"
            )


def discard_unused(path: Path) -> None:
    """Remove a directory that nothing was written into, and each above it that is empty then."""
    path, here = absolute(path), Path.cwd()
    with suppress(OSError):  # not empty, or not there
        while not here.is_relative_to(path):
            path.rmdir()
            path = path.parent
