#!/usr/bin/env bash
# tensorboard 2.21.0: `--samples_per_plugin scalars=0` serves no point of any curve.
# In the same package, a size of 0 means "all" where EventAccumulator is given it (size_guidance={"scalars": 0}),
# so one types 0 to see every point; the tags are still listed, and their curves are empty.
# Seen, of 1,500 points: "accumulator, 0: 1500; server, no option: 1000; scalars=0: 0; scalars=1000000: 1500".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check tensorboard==2.21.0
cat > "$folder/ask.py" <<'PY'
import json
import re
import subprocess
import sys
import time
import urllib.request

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

runs = sys.argv[1]
writer = EventFileWriter(f"{runs}/run")
for step in range(1500):
    value = Summary.Value(tag="loss", simple_value=1 / (1 + step))
    writer.add_event(Event(wall_time=step, step=step, summary=Summary(value=[value])))
writer.close()


def served(*options):
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", runs, "--port", "0", "--host", "localhost"]
    server = subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True)
    try:
        address = next(found[0] for line in server.stderr if (found := re.search(r"http://localhost:\d+", line)))

        def ask(path):
            with urllib.request.urlopen(f"{address}/data/plugin/scalars/{path}") as answer:
                return json.load(answer)

        while "loss" not in ask("tags").get("run", {}):  # until it has read the file
            time.sleep(0.5)
        time.sleep(2)
        return len(ask("scalars?run=run&tag=loss"))
    finally:
        server.terminate()
        server.wait()


accumulated = EventAccumulator(f"{runs}/run", size_guidance={"scalars": 0}).Reload()
seen = [len(accumulated.Scalars("loss")), served()]
seen += [served("--samples_per_plugin", f"scalars={count}") for count in (0, 1_000_000)]
print("accumulator, 0: {}; server, no option: {}; scalars=0: {}; scalars=1000000: {}".format(*seen))
sys.exit(seen != [1500, 1000, 0, 1500])
PY
"$folder/venv/bin/python" "$folder/ask.py" "$folder/runs"
