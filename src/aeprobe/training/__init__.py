"""Train and measure: a checked configuration becomes a finished run."""

import aeprobe.runtime  # noqa: F401
