"""What a playground says of its run."""

from collections.abc import Mapping

from aeprobe.figures.classes import Classes
from aeprobe.models.autoencoder import Autoencoder
from aeprobe.models.classifier import Classifier
from aeprobe.runs.seeds import Runs
from aeprobe.runs.sentences import every, unfinished
from aeprobe.runs.stage_run import StageRun
from aeprobe.wording import counted, epochs, number, percent


def words(
    runs: Runs, autoencoder: Autoencoder, classifier: Classifier | None, without: str
) -> Mapping[str, object]:
    """The page's texts by their names, plain and unescaped.

    Args:
        runs: as the page's.
        autoencoder: the networks that are on it.
        classifier: None where it has none.
        without: why it has none, as a sentence.
    """
    (run,) = runs["autoencoder"]
    thing = Classes.of(str(run.data.get("name")), ()).noun.replace("class", "image")
    size = " × ".join(map(str, autoencoder.shape[1:]))
    numbers, keep = f"{autoencoder.code_size:,} numbers", "keep"
    if autoencoder.code_size == 1:
        numbers, keep = "1 number", "keeps"
    lead = f"A network makes {numbers} of every image of {size} pixels, and draws it again"
    second = "; a second, small one sees these numbers alone, and names the"
    lead += " from them." if classifier is None else f"{second} {thing}."
    return {
        "thing": thing,
        "title": f"What {numbers} {keep} of {'a digit' if thing == 'digit' else 'an image'}",
        "lead": lead,
        "numbers": numbers,
        "without": without,
        "sentences": [_learned(run, size), _tested(run), _read(runs, classifier, without), _here()],
    }


def warnings(runs: Runs) -> list[str]:
    """What a visitor must know first; of an unfinished run also which checkpoint it is."""
    return unfinished(runs) + [
        f"The {run.stage} computes here as it was in its {run.metrics.get('checkpoint')} checkpoint"
        for run in every(runs)
        if run.metrics["status"] != "completed"
    ]


def _learned(run: StageRun, size: str) -> str:
    layers = run.layers("encoder")
    through = f", through layers of {layers} numbers and back" if layers else ""
    images = "MNIST" if run.dataset == "mnist" else run.called
    return (
        f"In {_trained(run)} over the training images of {images}, the autoencoder learned to make a code of each "
        f"image of {size} pixels and the image again of the code{through} (seed {run.metrics['seed']})."
    )


def _tested(run: StageRun) -> str:
    error = run.last("test/mse")
    if error is None:
        return "It was not measured on test images."
    of = _of_test(run)
    return (
        f"On {of}, which it had not seen, its pixels are off by a mean squared error of {number(error)}, where "
        "black is 0 and white is 1."
    )


def _read(runs: Runs, classifier: Classifier | None, without: str) -> str:
    if classifier is None:
        return without
    (run,) = runs["classifier"]
    accuracy = run.last("test/accuracy")
    right = "" if accuracy is None else f", and names {percent(accuracy)} of {_of_test(run)} rightly"
    return (
        f"The classifier ({run.layers('head')}) learned in {_trained(run)} from these codes alone, and the "
        f"encoder was {run.encoder}{right}."
    )


def _here() -> str:
    return (
        "All that you see is computed here, by your browser, with weights rounded to 16-bit floats: nothing that "
        "you draw leaves this page."
    )


def _trained(run: StageRun) -> str:
    return epochs(len(run.epochs), run.setting("trainer.limit_train_batches"))


def _of_test(run: StageRun) -> str:
    """The test images that it was measured on, with their number where it is known."""
    images = run.data.get("images")
    count = images.get("test") if isinstance(images, dict) else None
    if run.setting("trainer.limit_test_batches"):
        count = run.tested or None
    return counted(count, "test") if isinstance(count, int) else "test images"
