"""The words that some settings are chosen from."""

from enum import StrEnum


class Stage(StrEnum):
    """Which stages a run has."""

    all = "all"
    autoencoder = "autoencoder"
    classifier = "classifier"
    test = "test"
    probe = "probe"

    @property
    def trains_nothing(self) -> bool:
        """Whether a finished run is looked at again."""
        return self in (Stage.test, Stage.probe)

    def trains(self, stage: str) -> bool:
        """Whether this run trains `stage` ("autoencoder" or "classifier")."""
        return self in (Stage.all, stage)


class LossOn(StrEnum):
    """What the classifier's cross-entropy is given."""

    logits = "logits"
    softmax = "softmax"


class Encoder(StrEnum):
    """What stage 2 does with its encoder: trained in stage 1 or with new weights; as it is, or trained too."""

    frozen = "frozen"
    finetuned = "finetuned"
    random = "random"
    scratch = "scratch"

    @property
    def pretrained(self) -> bool:
        """Whether it has the weights of stage 1."""
        return self in (Encoder.frozen, Encoder.finetuned)

    @property
    def words(self) -> str:
        """What stage 2 does with it, in words."""
        others = {"random": "frozen with random weights", "scratch": "trained from scratch"}
        return others.get(self.value, self.value)

    @property
    def trains(self) -> bool:
        """Whether stage 2 changes it."""
        return self in (Encoder.finetuned, Encoder.scratch)
