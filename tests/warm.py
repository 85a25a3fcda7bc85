"""`python …` without the seconds of its imports: a process that has made them is forked for each command.

`Warm` is the pytest process's side. What a command prints, how it ends and what it leaves behind are those of a
command that was started alone; tests of what happens before and while modules are imported start one.
"""

import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

REPO = Path(__file__).parent.parent
TRAIN = str(REPO / "train.py")
LIMIT = 300  # seconds for a command
PUT_THERE = ("PYTEST", "PL_", "MPLBACKEND", "MLFLOW_LOGGING_LEVEL", "AEPROBE_FULL_ERROR", "HYDRA_FULL_ERROR")


class Warm:
    """Starts commands; the process that is forked ends with the pytest process."""

    def __init__(self) -> None:
        self.environment = surroundings()
        self.folder = tempfile.mkdtemp()
        self.path = f"{self.folder}/socket"
        self.process = subprocess.Popen(
            [sys.executable, __file__, self.path],
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout
        self.process.stdout.readline()

    def run(self, words: list[str], cwd: Path, environment: dict[str, str]) -> tuple[int, str, str]:
        """`python WORDS`, which begin with a file, -m or -c: its exit status, and what it printed."""
        with (
            tempfile.TemporaryFile("w+", dir=self.folder) as out,
            tempfile.TemporaryFile("w+", dir=self.folder) as err,
            socket.socket(socket.AF_UNIX) as connection,
        ):
            connection.settimeout(LIMIT)
            connection.connect(self.path)
            command = json.dumps({"words": words, "cwd": str(cwd), "environment": environment}).encode()
            socket.send_fds(connection, [command], [out.fileno(), err.fileno()])
            answers = connection.makefile()
            number = int(answers.readline())
            try:
                status = int(answers.readline())
            except TimeoutError:
                os.kill(number, signal.SIGKILL)
                raise
            out.seek(0)
            err.seek(0)
            return status, out.read(), err.read()


def surroundings() -> dict[str, str]:
    """The environment that a command would get, less what pytest and a run in this process have put there."""
    return {name: value for name, value in os.environ.items() if not name.startswith(PUT_THERE)}


def serve(path: str) -> None:
    """Forks a process for each connection until standard input ends."""
    from hydra.core.plugins import Plugins

    import aeprobe.cli.train
    import aeprobe.training.run  # noqa: F401
    import aeprobe_tools.evaluations.denoising
    import aeprobe_tools.report.page
    import aeprobe_tools.use.playground  # noqa: F401

    Plugins.instance()
    gc.collect()
    gc.freeze()  # a command collects garbage, and would copy every page of what is imported here
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those who wait for a command
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        print("ready", flush=True)
        while server in select.select([server, sys.stdin], [], [])[0]:
            connection, _ = server.accept()
            if os.fork() == 0:
                server.close()
                _wait_for(connection)
            connection.close()


def _wait_for(connection: socket.socket) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    text, streams, _, _ = socket.recv_fds(connection, 2**20, 2)
    command = json.loads(text)
    number = os.fork()
    if number == 0:
        connection.close()
        os.environ.clear()
        os.environ.update(command["environment"])
        _execute(command["words"], command["cwd"], streams)
    connection.sendall(f"{number}\n".encode())
    _, status = os.waitpid(number, 0)
    connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def _execute(words: list[str], cwd: str, streams: list[int]) -> None:
    """What Python does with `python WORDS`, from its own imports to its end."""
    import atexit
    import runpy
    import threading
    import traceback

    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, stream in enumerate([nothing, *streams]):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(cwd)
    what, *rest = words
    sys.orig_argv = ["python", *words]
    sys.argv = [what, *(rest if what not in ("-c", "-m") else rest[1:])]
    sys.path[0] = str(Path(what).parent) if what not in ("-c", "-m") else cwd
    status: Any = 0
    try:
        if what == "-c":
            exec(rest[0], {"__name__": "__main__"})
        elif what == "-m":
            runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(what, run_name="__main__")
    except SystemExit as end:
        status = end.code or 0
    except BaseException as error:
        traceback.print_exc()
        status = -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    if isinstance(status, str):
        print(status, file=sys.stderr)
        status = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    if status == -signal.SIGINT:  # so does Python
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    os._exit(status)


if __name__ == "__main__":
    serve(sys.argv[1])
