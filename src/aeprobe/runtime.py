"""The first thing that every process does which computes: importing this module does it.

The folders in which all computes (`training`, `models`, `data`) import it for each of their modules; elsewhere it
stands first among a module's imports (ruff sorts it there).

- **Denormal numbers are flushed to zero.** Adam with weight decay drives the weights that get no gradient into the
  denormal range within two or three epochs, and an Intel Xeon then takes ten times as long for a step. Worker
  threads inherit the mode when they start, so it is set before the first parallel operation.
- **torchvision is imported once, here,** because its wheel refuses to import beside a CPU-only torch.
- **Lightning's notices are turned down** to what concerns this run.
"""

import logging
import os
import warnings

import torch

torch.set_flush_denormal(True)
CHOICE = torch.get_num_threads()  # torch's, before a job of this process has typed another number
DIVIDED = "OMP_NUM_THREADS" in os.environ  # by torchrun or joblib, or it was typed: it is that of each process

# torchvision's usual wheel is built for CUDA. Beside a CPU-only torch its library cannot be loaded, and the import
# fails at two detection operators that were never registered (pytorch/vision issue 9085). Their names suffice.
OPERATORS = torch.library.Library("torchvision", "FRAGMENT")
try:
    import torchvision
except RuntimeError as error:
    if "torchvision::" not in str(error):
        raise
    for name in ("nms", "qnms"):
        OPERATORS.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision  # noqa: F401

UNSAID = (
    ".*`srun` command is available.*",  # a run outside of the queue
    ".*GPU available but not used.*",  # trainer.accelerator=cpu was typed
    ".*does not have many workers.*",  # the data are in memory
    r"Found \d+ module\(s\) in eval mode.*",  # a frozen encoder is
    ".*smaller than the logging interval.*",  # training.Recorder logs
    ".*self.log\\('train/.*sync_dist.*",  # the Recorder's, equal everywhere
    ".*broadcast_buffers.*",  # torch 2.6 has no other name for it
    ".*exists and is not empty.*",  # of a resumed run
    "The dirpath has changed from .*",  # of a moved run: a checkpoint of every epoch needs no old paths
    ".*AMP with fp16 is not supported.*",  # make_trainer refuses it
    ".*treespec, LeafSpec.*",  # inside Lightning 2.6
)
QUIET = (
    "pytorch.utilities.rank_zero",
    "pytorch.trainer.connectors.signal_connector",
    "pytorch.accelerators.cuda",
    "fabric.utilities.rank_zero",
    "fabric.utilities.distributed",
)
for name in QUIET:
    logging.getLogger(f"lightning.{name}").setLevel(logging.WARNING)
logging.getLogger("matplotlib.font_manager").setLevel(logging.WARNING)  # which tells that it made its cache
for message in UNSAID:
    warnings.filterwarnings("ignore", message=message)


def seed(value: int) -> None:
    """Seed Python's, NumPy's and torch's global generators with 0 to 2**32 - 1."""
    from lightning.pytorch import seed_everything  # noqa: TID251

    seed_everything(value, verbose=False)


def threads(number: int | None, processes: int = 1) -> None:
    """Set the number of threads of a tensor operation; None: torch's own, divided between so many processes."""
    torch.set_num_threads(number or (CHOICE if DIVIDED else max(1, CHOICE // processes)))
