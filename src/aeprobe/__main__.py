"""`aeprobe COMMAND …`, or `python -m aeprobe COMMAND …`: what is done with finished runs."""

import sys
from importlib import import_module

COMMANDS = {
    "results": ("aeprobe.results.table", "one table over many runs: aeprobe results DIR"),
    "report": ("aeprobe.report.write", "one page from finished runs: aeprobe report RUN …"),
    "encode": ("aeprobe.inference.encode", "images as codes: aeprobe encode RUN IMAGES … -o codes.npz"),
    "decode": ("aeprobe.inference.decode", "codes as pictures: aeprobe decode RUN codes.npz -o DIR"),
}


def main() -> int:
    """Hands the arguments to the command that is named first; returns the exit status."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in COMMANDS:
        status: int = import_module(COMMANDS[name][0]).main(sys.argv[2:])
        return status
    lines = [f"  {command:8} {what}" for command, (_, what) in COMMANDS.items()]
    text = "\n".join(["usage: aeprobe COMMAND …", "", *lines, "", "Each has its own --help."])
    if name in ("-h", "--help"):
        print(text)
        return 0
    print(f"error: {name}: no such command; there are {', '.join(COMMANDS)}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
