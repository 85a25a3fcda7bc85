"""What a finished run is used for: images to a file of codes, and back."""

import aeprobe.runtime  # noqa: F401
