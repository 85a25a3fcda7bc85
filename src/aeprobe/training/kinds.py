"""Of which kind the class must be that a node of the configuration names."""

from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import Metric

from aeprobe.after import After
from aeprobe.config.nodes import bound
from aeprobe.config.schema import STAGES, Config, every_node
from aeprobe.data.sources import Source
from aeprobe.evaluation import Evaluation
from aeprobe.models.autoencoder import Autoencoder
from aeprobe.models.regularizers import Regularizer
from aeprobe.training.display import Display

KINDS: dict[str, type] = {
    "autoencoder": Autoencoder,
    "network": nn.Module,
    "head": nn.Module,
    "loss": nn.Module,
    "optimizer": Optimizer,
    "scheduler": LRScheduler,
    "callbacks": Callback,
    "metrics": Metric,
    "logger": Logger,
    "source": Source,
    "augmentation": nn.Module,
    "corruption": nn.Module,
    "regularizer": Regularizer,
    "evaluations": Evaluation,
    "probe": Evaluation,
    "recorders": Display,
    "after": After,
}


def require_kinds(config: Config) -> None:
    """Looks up every class that a configuration names, before the first of them is called or anything is written.

    Raises:
        AeprobeError: there is no such class, it is of another kind, or it takes no such argument.
    """
    for key, node, _ in every_node(config):
        if node["_target_"] is not None:
            arguments = {name: value for name, value in node.items() if name != "interval"}  # ours, of a schedule
            owner, _, place = key.partition(".")
            inside = owner in (*STAGES, "data", "trainer") and place
            kind = KINDS[place.partition(".")[0] if inside else owner]
            bound(arguments, key, kind)
