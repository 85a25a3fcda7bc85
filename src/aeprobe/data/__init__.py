"""The images: read, split, and handed out in whole batches."""

import aeprobe.runtime  # noqa: F401
