"""The one exception that a person is meant to read."""


class AeprobeError(Exception):
    """An expected failure: its text is one line that says what is wrong, what was given and what to do."""
