"""The two stages as LightningModules, their networks, and their checkpoints."""

import aeprobe.runtime  # noqa: F401
