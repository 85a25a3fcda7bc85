"""Figures of a run, made of arrays, and the rest of what TensorBoard shows."""

import aeprobe.runtime  # noqa: F401
