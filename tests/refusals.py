"""What was refused, and how."""

from collections.abc import Callable
from typing import Any

from aeprobe.errors import AeprobeError


def refused(call: Callable[[], Any], begin: str) -> Any:
    """None if the call was refused in one line that has `begin` in it; else what it returned, as a 1-tuple."""
    try:
        return (call(),)
    except AeprobeError as error:
        text = str(error)
    assert begin in text
    assert "\n" not in text
    return None
