"""Uses of a finished run: predict, encode and decode, export, and the playground."""

import aeprobe.runtime  # noqa: F401
