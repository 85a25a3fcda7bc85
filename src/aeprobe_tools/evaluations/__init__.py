"""Questions asked of a trained module beyond its metrics: one class for each, with numbers, figures and page."""

import aeprobe.runtime  # noqa: F401
