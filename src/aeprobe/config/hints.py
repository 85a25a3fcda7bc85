"""What to type instead of a key or an option that does not exist: people bring names from other projects."""

from collections.abc import Collection, Iterator, Sequence
from difflib import get_close_matches

from hydra._internal.utils import get_args_parser

from aeprobe.config.schema import OPTIMIZER_NUMBERS, keys
from aeprobe.paths import typed_command

_GROUP = "each stage has its own: {0}@autoencoder.{0}=NAME, {0}@classifier.{0}=NAME"
_WIDTHS = (
    "network@autoencoder.network=conv (or mlp) chooses a network; autoencoder.network.widths=[auto,…,30] and "
    "classifier.head.widths=[auto,…,auto] are the layers of mlp"
)
_ADVICE = {  # by the names that other projects have for it
    "callbacks callback early_stopping patience ema swa": (
        "each stage has its own: callbacks@autoencoder.callbacks=early_stopping (or lr_monitor, ema, device_stats)"
    ),
    "loggers wandb tensorboard mlflow csv": "logger=csv (or wandb, mlflow), beside TensorBoard",
    "log_every_n_steps": "the values of every step are written",
    "epochs num_epochs n_epochs min_epochs epoch": (
        "each stage has its own: autoencoder.max_epochs=N, classifier.max_epochs=N"
    ),
    "max_steps min_steps timeout": (
        "give fewer epochs (autoencoder.max_epochs=N), or trainer.max_time=DD:HH:MM:SS"
    ),
    "model network net architecture arch encoder decoder head": _WIDTHS,
    "layers latent_dim code_size hidden_dim hidden_size": _WIDTHS,
    "dataset datamodule dataloader data_dir data_path": (
        "data=mnist (fashion_mnist, kmnist, emnist), or of your own: data=images (pictures) or data=folder (IDX) "
        "with data.root=DIR"
    ),
    "num_workers workers pin_memory persistent_workers": (
        "the images are in memory, no processes load them; trainer.threads=N is what computes"
    ),
    "fast_dev_run debug overfit_batches dry_run": "trainer=debug is one short epoch of each stage",
    "ckpt_path checkpoint weights pretrained resume_from resume_from_checkpoint": (
        "ckpt=RUN hands weights on, resume=RUN goes on with a run"
    ),
    "train test mode task eval validate stages": "stage=all | autoencoder | classifier | test says what is run",
    "name run_name exp_name experiment_name task_name tags": (
        "sweep=NAME names a multirun, hydra.run.dir=DIR the directory of one run"
    ),
    "output_dir out_dir outdir save_dir log_dir logdir default_root_dir": "outputs=DIR is where the runs lie",
    "save_top_k monitor enable_checkpointing model_checkpoint": (
        "every run keeps checkpoints/best.ckpt, by val/loss, and last.ckpt"
    ),
    "gpus gpu device cuda": "trainer.accelerator=gpu, trainer.devices=N processes",
    "enable_progress_bar progress_bar verbose": "trainer.progress=true | false | auto",
    "val_check_interval val_every": "trainer.check_val_every_n_epoch=N",
    "loss criterion loss_fn": "autoencoder.loss=mse (or bce, l1), classifier.loss_on=logits (or softmax)",
    "vae variational kl latent": "autoencoder=variational autoencoder.beta=B",
    "augment augmentation transforms shift shift_epochs": (
        "augmentation@autoencoder.augmentation=shift autoencoder.augmentation.pixels=N moves the images"
    ),
    "dropout pixel_dropout noise denoising corruption": (
        "corruption@autoencoder.corruption=dropout autoencoder.corruption.p=SHARE, classifier.code_noise=SD"
    ),
    "clusters cluster_weight regularizer beta": (
        "regularizer@autoencoder.regularizer=clusters autoencoder.regularizer.weight=W"
    ),
    "n_trials": "hydra.sweeper.n_trials=N, with -m search=optuna",
    "optim optimizer": _GROUP.format("optimizer"),
    "lr_scheduler scheduler": _GROUP.format("scheduler"),
}
MEANT = {name: advice for names, advice in _ADVICE.items() for name in names.split()}
FIRST = ("callbacks", "wandb")  # whatever follows them
GROUPS = ("experiment", "search")  # beside the keys of the schema


def hint(key: str) -> str:
    """A clause that says what to type instead of a key that does not exist."""
    plain = key.partition("@")[0].replace("/", ".")
    root, name = plain.partition(".")[0], plain.rpartition(".")[2]
    known = [*known_keys(), *GROUPS]
    if root == "hydra":
        return f"`{typed_command()} --cfg hydra` lists Hydra's keys"
    if root in FIRST or name in ("optimizer", "scheduler", "callbacks") or (plain in MEANT and "." not in plain):
        return MEANT[root if root in MEANT else name]
    elsewhere = [k for k in known if k.rpartition(".")[2] == name]
    if not elsewhere and (name in MEANT or root in MEANT):
        return MEANT[name if name in MEANT else root]
    found = nearest(plain, known)
    meant = found.removeprefix("did you mean autoencoder.").removesuffix("?")
    both = root != "autoencoder" and found != meant and f"classifier.{meant}" in known
    return f"{found} (or classifier.{meant})" if both else found


def unknown_option(arguments: Sequence[str]) -> str | None:
    """A line about an option that Hydra does not have; argparse would take the beginning of a name for the whole.

    >>> unknown_option(["-m", "--seed=1"])
    '--seed=1: a setting is typed without dashes, as seed=1; --help lists the options'
    """
    options = [name for action in get_args_parser()._actions for name in action.option_strings]
    known = [*known_keys(), *GROUPS, "resume"]
    for argument in arguments:
        name, given, value = argument.partition("=")
        if name == "--experimental-rerun":
            return f"{name}: it unpickles a file, which can run code; resume=RUN goes on with a run"
        if name in options or not name.startswith("--" if not given else "-"):
            continue
        key = name.lstrip("-")
        close = get_close_matches(key, [*known, *(option.removeprefix("--") for option in options)], n=1)
        if close and f"--{close[0]}" in options:
            return f"{argument}: no such option; did you mean --{close[0]}?"
        meant = f"{close[0] if close else key}={value or 'VALUE'}"
        return f"{argument}: a setting is typed without dashes, as {meant}; --help lists the options"
    return None


def known_keys() -> Iterator[str]:
    """Every dotted key that can be typed: of the schema, its groups, and the optimizers in conf/optimizer."""
    yield from ("autoencoder", "classifier", "data", "trainer")
    for name, _ in keys():
        yield name
        if name.endswith(".scheduler"):
            yield f"{name}.interval"
        if name.endswith(".optimizer"):
            yield from (f"{name}.{number}" for number in OPTIMIZER_NUMBERS)


def nearest(key: str, known: Collection[str]) -> str:
    """A clause that names the known key most like `key`: the right name elsewhere, else a near spelling."""
    owner, _, name = key.rpartition(".")
    root = owner.partition(".")[0]
    elsewhere = [k for k in known if k.rpartition(".")[2] == name]
    elsewhere.sort(key=lambda k: (k.partition(".")[0] != root, k))
    beside = [k for k in known if k.partition(".")[0] == root and "." in k]
    alike = get_close_matches(name, [k.rpartition(".")[2] for k in beside or known], n=1)
    close = elsewhere or [k for k in beside or known if k.rpartition(".")[2] in alike]
    return f"did you mean {close[0]}?" if close else f"`{typed_command()} --cfg job` lists the keys"
