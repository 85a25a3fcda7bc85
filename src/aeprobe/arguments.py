"""What Hydra does not check of a command line's overrides, and would answer with a traceback."""

from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob, QuotedString
from hydra.errors import HydraException

from aeprobe.errors import AeprobeError

GROUPS = ("autoencoder", "classifier", "data", "trainer", "experiment")


def check_groups(arguments: Sequence[str]) -> None:
    """Refuses a number or a list where Hydra expects the name of a file, and does not look.

    Args:
        arguments: of the command line, options too.

    Raises:
        AeprobeError: as it says.
    """
    for argument in arguments:
        try:
            parsed = OverridesParser.create().parse_override(argument)
            value = parsed.value()
        except (HydraException, ValueError) as error:
            if "integer string conversion" in str(error):
                raise AeprobeError(f"{argument[:60]}…: the number has too many digits") from None
            continue  # an option, or Hydra tells what is wrong with it
        given = value.list if isinstance(value, ChoiceSweep) else [value]
        if value is None and (parsed.is_delete() or parsed.key_or_group == "experiment"):
            continue
        if parsed.package is not None or parsed.key_or_group in GROUPS:
            for item in given:
                if not isinstance(item, str | QuotedString | Glob):
                    raise AeprobeError(f"{argument}: {parsed.key_or_group} takes the name of a file in conf/")
