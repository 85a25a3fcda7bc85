"""The images that a finished run was trained and tested on."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from aeprobe.config import nodes
from aeprobe.config.trust import require_trusted
from aeprobe.data.datamodule import ImageDataset
from aeprobe.data.idx_files import BUNDLE
from aeprobe.data.image_folder import ImageFolder
from aeprobe.data.mnist import MNIST, IdxFolder
from aeprobe.data.sources import Source, checked
from aeprobe.errors import AeprobeError
from aeprobe.models.checkpoints import Checkpoint


def images_of(checkpoint: Checkpoint, path: Path, split: str, plugins: Sequence[str] = ()) -> ImageDataset:
    """Read the images of a checkpoint's source.

    Args:
        checkpoint: as `checkpoints.read` returned it.
        path: of its file.
        split: "test"; or "train", with those that were held out, all in the source's order.
        plugins: packages of which it may name classes, too.
    """
    source, root = _source(checkpoint, path, plugins), Path(checkpoint["datamodule_hyper_parameters"]["root"])
    try:
        with _quietly(), _kept_nowhere(source):
            images, labels, _ = checked(source, split)
    except AeprobeError as error:
        raise error if root.exists() else _absent(path, root) from None
    found, shape = tuple(images.shape[1:]), tuple(checkpoint["hyper_parameters"]["shape"])
    if found != shape:
        raise AeprobeError(f"the images in {root} are of {found} now, and those of {path} are of {shape}")
    return ImageDataset(images, labels)


@contextmanager
def _kept_nowhere(source: Source) -> Iterator[None]:
    """Keep a picture folder's cache where it is already, or nowhere."""
    if not isinstance(source, ImageFolder) or source.cache.exists():
        yield
        return
    with TemporaryDirectory() as folder:
        source.cache = Path(folder, source.cache.name)
        yield


def _absent(path: Path, missing: Path) -> AeprobeError:
    return AeprobeError(f"the images of {path} are not there: {missing} is missing; type this where they are")


@contextmanager
def _quietly() -> Iterator[None]:
    """Silence warnings that training has given of these files, such as that one is broken."""
    log = logging.getLogger("aeprobe")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


def _source(checkpoint: Checkpoint, path: Path, plugins: Sequence[str]) -> Source:
    """Build the source, which writes nothing: absent MNIST files are read from the bundle."""
    kept = checkpoint["datamodule_hyper_parameters"]
    require_trusted([("data.source", kept["source"])], plugins, f"ckpt={path}")
    source = nodes.build(kept["source"], "data.source", Source, root=kept["root"])  # type: ignore[type-abstract]
    if source is None:
        raise AeprobeError(f"ckpt={path}: names no source of its images")
    missing = source.missing()
    if missing and isinstance(source, MNIST) and BUNDLE.is_dir():
        return IdxFolder(str(BUNDLE))
    if missing:
        raise _absent(path, missing)
    return source
