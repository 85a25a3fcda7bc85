"""The words that some settings are chosen from."""

from enum import StrEnum


class Stage(StrEnum):
    """The stages that a run has."""

    all = "all"
    autoencoder = "autoencoder"
    classifier = "classifier"
    test = "test"
    probe = "probe"

    @property
    def trains_nothing(self) -> bool:
        """Tell if a finished run is looked at again."""
        return self in (Stage.test, Stage.probe)

    def trains(self, stage: str) -> bool:
        """Tell if this run trains `stage` ("autoencoder" or "classifier")."""
        return self in (Stage.all, stage)


class LossOn(StrEnum):
    """The input of the classifier's cross-entropy."""

    logits = "logits"
    softmax = "softmax"


class Encoder(StrEnum):
    """The encoder of stage 2: trained in stage 1 or with new weights; as it is, or trained too."""

    frozen = "frozen"
    finetuned = "finetuned"
    random = "random"
    scratch = "scratch"

    @property
    def pretrained(self) -> bool:
        """Tell if it has the weights of stage 1."""
        return self in (Encoder.frozen, Encoder.finetuned)

    @property
    def trains(self) -> bool:
        """Tell if stage 2 changes it."""
        return self in (Encoder.finetuned, Encoder.scratch)

    @property
    def words(self) -> str:
        """Its treatment in a sentence."""
        others = {"random": "frozen with random weights", "scratch": "trained from scratch"}
        return others.get(self.value, self.value)
