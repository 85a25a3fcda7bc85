#!/usr/bin/env bash
# lightning 2.6.6: EMAWeightAveraging(update_starting_at_epoch=100) averages from the first step on: a start by epoch
# adds updates at the ends of epochs, and delays none. A start by step that a training does not reach leaves it with
# the weights that it began with, zero here, not with those that it trained.
# Seen: "without EMA -1.6; EMA -1.4016; from epoch 100 on -1.4016; from step 100 on 0.0".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 lightning==2.6.6 numpy==2.4.6
cat > "$folder/train.py" <<'PY'
import logging
import sys
import warnings

import lightning as L
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging

warnings.filterwarnings("ignore")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


class Descent(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def training_step(self, batch):
        return (self.weight * batch).sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.2)


def trained(**options):
    module, batches = Descent(), torch.ones(8, 1)
    averaging = [EMAWeightAveraging(decay=0.5, **options)] if options else []
    quiet = {name: False for name in ("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing")}
    trainer = L.Trainer(max_epochs=1, accelerator="cpu", callbacks=averaging, **quiet)
    trainer.fit(module, torch.utils.data.DataLoader(batches))
    return round(module.weight.item(), 4)


none, always = trained(), trained(update_every_n_steps=1)
by_epoch, by_step = trained(update_starting_at_epoch=100), trained(update_starting_at_step=100)
print(f"without EMA {none}; EMA {always}; from epoch 100 on {by_epoch}; from step 100 on {by_step}")
sys.exit(not (by_epoch == always != none and by_step == 0))
PY
"$folder/venv/bin/python" "$folder/train.py"
