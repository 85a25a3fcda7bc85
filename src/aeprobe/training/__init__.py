"""From a checked configuration to a trained and measured run."""

import aeprobe.runtime  # noqa: F401
