"""Jobs of a multirun in this process."""

import shlex
from pathlib import Path

JOBLIB = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")


def jobs(cwd: Path) -> list[Path]:
    return sorted(path for path in (cwd / "outputs" / "sweeps" / "s").iterdir() if path.is_dir())


def told(line: str) -> list[str]:
    """The arguments of the command that an interruption says to give."""
    words = shlex.split(line.partition("; go on with: ")[2])
    assert words[:2] == ["python", "train.py"]
    return words[2:]
