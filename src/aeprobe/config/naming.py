"""What the runs of a sweep are called: by what was typed. The configuration uses both names as resolvers."""

import hashlib
import re
from collections.abc import Sequence

from omegaconf import ListConfig, OmegaConf

from aeprobe.errors import AeprobeError

OF_A_MULTIRUN = ("sweep=", "search=")  # say which runs there are, not what a run does


def as_typed(overrides: Sequence[str]) -> list[str]:
    """Overrides as they were typed: a node of OmegaConf would put values for their `${…}`."""
    plain = OmegaConf.to_container(overrides, resolve=False) if isinstance(overrides, ListConfig) else overrides
    return [str(override) for override in plain]  # type: ignore[union-attr]


def job_name(overrides: Sequence[str]) -> str:
    """The directory of a multirun's job: readable, at most 120 characters, no two settings alike.

    >>> job_name(["sweep=lr", "seed=0", "autoencoder.optimizer.lr=0.001"])
    'autoencoder.optimizer.lr-0.001_seed-0_881210f4'
    """
    settings = sorted(o for o in as_typed(overrides) if not o.startswith(OF_A_MULTIRUN))
    digest = hashlib.sha256("\n".join(settings).encode()).hexdigest()[:8]
    words = (re.sub(r"[^A-Za-z0-9._+-]+", "-", setting).strip("-.") for setting in settings)
    return f"{'_'.join(words)[:111]}_{digest}".lstrip("_")


def sweep_name(name: str) -> str:
    """The sweep's name, if it can be the name of one folder.

    Raises:
        AeprobeError: it cannot.
    """
    if not re.fullmatch(r"[A-Za-z0-9_+-][A-Za-z0-9._+-]{0,119}", str(name)):
        raise AeprobeError(f"sweep={name}: must be a folder's name of letters, digits and . _ + -")
    return str(name)


OmegaConf.register_new_resolver("aeprobe.job_name", job_name, replace=True)
OmegaConf.register_new_resolver("aeprobe.sweep_name", sweep_name, replace=True)
