#!/usr/bin/env bash
# torch 2.13.0: the CPU generator draws by 32 of a seed's 64 bits. It accepts, stores and returns (`initial_seed`)
# all 64, so one packs a seed, an epoch and a rank into one number, and gets equal streams without a word.
# Seen: "7: 0.534923 0.198803; 7 + 2**32: 0.534923 0.198803; 7 + 2**63: 0.534923 0.198803; stored in full: True".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PY'
import sys

import torch

seeds = {"7": 7, "7 + 2**32": 7 + 2**32, "7 + 2**63": 7 + 2**63}
generators = {name: torch.Generator().manual_seed(seed) for name, seed in seeds.items()}
drawn = {name: torch.rand(2, generator=generator) for name, generator in generators.items()}
stored = all(generators[name].initial_seed() == seed for name, seed in seeds.items())
words = "; ".join(f"{name}: {' '.join(f'{number:.6f}' for number in numbers)}" for name, numbers in drawn.items())
print(f"{words}; stored in full: {stored}")
alike = all(torch.equal(numbers, drawn["7"]) for numbers in drawn.values())
others = not torch.equal(torch.rand(2, generator=torch.Generator().manual_seed(8)), drawn["7"])
sys.exit(not (alike and others and stored))
PY
