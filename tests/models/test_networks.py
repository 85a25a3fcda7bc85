import pytest
import torch
from torch import nn

from aeprobe.config.schema import ACTIVATIONS
from aeprobe.models.autoencoder import Autoencoder
from aeprobe.models.classifier import Classifier
from aeprobe.models.networks import describe, mlp

WIDTHS = [784, 500, 200, 100, 30]


def test_mlp_has_activations_between_layers_only() -> None:
    kinds = [type(layer) for layer in mlp([4, 3, 2], "GELU", output=nn.Sigmoid())]
    assert kinds == [nn.Linear, nn.GELU, nn.Linear, nn.Sigmoid]
    with pytest.raises(ValueError, match="two widths"):
        mlp([4])


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_of_the_schema_is_torchs(name: str) -> None:
    assert mlp([2, 2, 2], name)(torch.ones(1, 2)).shape == (1, 2)


def test_the_reports_architectures() -> None:
    autoencoder, classifier = Autoencoder(WIDTHS), Classifier(WIDTHS, "ReLU", [30, 20, 15, 10])
    sizes = [tuple(w.shape) for k, w in autoencoder.state_dict().items() if k.endswith("weight")]
    mirrored = [(500, 784), (200, 500), (100, 200), (30, 100), (100, 30), (200, 100), (500, 200), (784, 500)]
    assert sizes == mirrored
    assert {k.partition(".")[0] for k in autoencoder.state_dict()} == {"encoder", "decoder"}
    assert {k.partition(".")[0] for k in classifier.state_dict()} == {"encoder", "head"}
    assert describe(WIDTHS, "ReLU") == "784-500-200-100-30 with ReLU"


def test_shapes_and_ranges_of_what_the_modules_return() -> None:
    images = torch.rand(7, 1, 28, 28)
    batch = (images, torch.zeros(7, dtype=torch.int64))
    made = Autoencoder(WIDTHS).predict_step(batch)
    assert made["code"].shape == (7, 30)
    assert made["reconstruction"].shape == images.shape
    assert made["reconstruction"].min() >= 0
    assert made["reconstruction"].max() <= 1
    classifier = Classifier(WIDTHS, "ReLU", [30, 20, 15, 10]).eval()
    guess = classifier.predict_step(batch)
    torch.testing.assert_close(guess["probabilities"].sum(1), torch.ones(7))
    assert torch.equal(guess["label"], guess["probabilities"].argmax(1))
    codes = classifier.encode(images)
    assert torch.equal(classifier(codes), classifier(images))
    assert torch.equal(classifier.encode(codes), codes)


def test_the_encoder_stays_frozen_whatever_lightning_calls() -> None:
    classifier = Classifier(WIDTHS, "ReLU", [30, 20, 15, 10])
    classifier.train()
    assert classifier.head.training
    assert not classifier.encoder.training
    assert not any(p.requires_grad for p in classifier.encoder.parameters())


def test_softmax_before_the_loss_is_the_reports_code() -> None:
    torch.manual_seed(0)
    batch = (torch.randn(8, 30), torch.arange(8))
    classifier = Classifier(WIDTHS, "ReLU", [30, 20, 15, 10], loss_on="softmax")
    expected = nn.functional.cross_entropy(classifier(batch[0]).softmax(1), batch[1])
    assert classifier.loss(classifier(batch[0]), batch[1]) == expected
    assert expected > 1.46  # softmax outputs cannot get below 1.4612 = log(e + 9) - 1
