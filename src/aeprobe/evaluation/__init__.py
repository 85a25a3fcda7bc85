"""What a trained module is good for beyond its metrics: one class for each question, with numbers and figures."""

import aeprobe.runtime  # noqa: F401
