"""`aeprobe COMMAND …`, or `python -m aeprobe COMMAND …`: trains, and does what is done with finished runs."""

import sys
from importlib import import_module

# The module and function of each, its arguments, and its line in --help.
COMMANDS = {
    "train": ("aeprobe.cli.train", "main", "[KEY=VALUE …]", "train, as python train.py"),
    "results": ("aeprobe_tools.results.table", "main", "DIR …", "one table over many runs"),
    "report": ("aeprobe_tools.report.page", "main", "RUN …", "one page from finished runs"),
    "probe": ("aeprobe.cli.train", "probe", "RUN", "simple classifiers on the codes, with few labels and many"),
    "predict": ("aeprobe_tools.use.predict", "main", "RUN PICTURES …", "what a run says of pictures: which digit"),
    "export": ("aeprobe_tools.use.export", "main", "RUN [-o DIR]", "a run as ONNX and torch.export files"),
    "encode": ("aeprobe_tools.use.codes", "encode_command", "RUN IMAGES … -o codes.npz", "images as codes"),
    "decode": ("aeprobe_tools.use.codes", "decode_command", "RUN codes.npz -o DIR", "codes as pictures"),
    "playground": ("aeprobe_tools.use.playground", "main", "RUN", "one page to draw on and play with"),
}


def main() -> int:
    """Hand the arguments to the command that is named first; return the exit status."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in COMMANDS:
        module, function, *_ = COMMANDS[name]
        status: int = getattr(import_module(module), function)(sys.argv[2:])
        return status
    if name not in ("-h", "--help"):
        print(f"error: {name}: no such command; there are {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    print("usage: aeprobe COMMAND …\n")
    for command, (*_, arguments, what) in COMMANDS.items():
        print(f"  {f'{command} {arguments}':32}  {what}")
    print("\nEach has its own --help.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
