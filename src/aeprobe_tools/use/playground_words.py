"""Sentences of the playground about its run."""

from collections.abc import Mapping

from aeprobe.data.classes import Classes
from aeprobe.models.autoencoder import Autoencoder
from aeprobe.models.classifier import Classifier
from aeprobe_tools.report.sentences import every, unfinished
from aeprobe_tools.results.seeds import Runs
from aeprobe_tools.results.stage_run import StageRun
from aeprobe_tools.wording import counted, epochs, number, percent


def words(
    runs: Runs, autoencoder: Autoencoder, classifier: Classifier | None, without: str
) -> Mapping[str, object]:
    """Return the page's texts by their names, plain and unescaped.

    Args:
        runs: as the page's.
        autoencoder: the networks that are on it.
        classifier: None where it has none.
        without: why it has none, as a sentence.
    """
    (run,) = runs["autoencoder"]
    noun = Classes(str(run.data.get("noun", "digit"))).noun
    thing = "digit" if noun == "digit" else "image"
    size = " × ".join(map(str, autoencoder.shape[1:]))
    numbers = f"{autoencoder.code_size:,} numbers"
    lead = f"A network turns every image of {size} pixels into {numbers}, and draws it again from them"
    second = f"; a second, small one sees these numbers alone, and predicts the {noun}."
    lead += "." if classifier is None else second
    return {
        "thing": thing,
        "noun": noun,
        "title": f"What {numbers} keep of {'a digit' if thing == 'digit' else 'an image'}",
        "lead": lead,
        "numbers": numbers,
        "without": without,
        "sentences": [_learned(run, size), _tested(run), _read(runs, classifier, without), _here()],
    }


def warnings(runs: Runs) -> list[str]:
    """Return what a visitor must know first; of an unfinished run also which checkpoint it is."""
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
    right = "" if accuracy is None else f", and it is right for {percent(accuracy)} of {_of_test(run)}"
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
    """Name the test images that it was measured on, with their number if it is known."""
    images = run.data.get("images")
    count = images.get("test") if isinstance(images, dict) else None
    if run.setting("trainer.limit_test_batches"):
        count = run.tested or None
    return counted(count, "test") if isinstance(count, int) else "test images"
