from typing import Any

import modules
import pytest
import torch
from torch import nn

from aeprobe.data.datamodule import ImageDataset
from aeprobe.models.autoencoder import Autoencoder
from aeprobe.models.networks import ACTIVATIONS, MLP, ConvAutoencoder, MLPAutoencoder, structure
from aeprobe_tools.figures.pictures import reconstruct

WIDTHS = [784, 500, 200, 100, 30]


def test_mlp_has_activations_between_layers_only() -> None:
    for name in ACTIVATIONS:
        assert [type(layer) for layer in MLP([4, 3, 2], name)] == [nn.Linear, getattr(nn, name), nn.Linear]
    kinds = [type(layer) for layer in MLP([4, 3, 3, 2], dropout=0.5, batch_norm=True)]
    hidden = [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Dropout]
    assert kinds == [*hidden, *hidden, nn.Linear]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"widths": [4]}, "two or more numbers"),
        ({"widths": [4, 0]}, "two or more numbers"),
        ({"widths": [4, 2], "activation": "Linear"}, "activation=Linear: must be one of ReLU"),
        ({"widths": [4, 2], "initialization": "xavier"}, "initialization=xavier: must be one of torch, he"),
        ({"widths": [4, 2], "dropout": 1.0}, "dropout=1.0: must be 0 or more"),
    ],
)
def test_an_mlp_says_which_argument_is_out_of_range(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        MLP(**arguments)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 31, 45), (1, 4, 1)])
@pytest.mark.parametrize("channels", [[4], [4, 6]])
def test_a_convolutional_network_takes_images_of_any_shape(shape: tuple[int, ...], channels: list[int]) -> None:
    network = ConvAutoencoder(shape, channels, code=5)
    images = torch.rand(3, *shape)
    code = network.encoder(images)
    assert code.shape == (3, 5)
    made = network.decoder(code)
    assert made.shape == images.shape
    assert made.min() >= 0
    assert made.max() <= 1


def test_a_convolutional_network_halves_no_single_pixel() -> None:
    ConvAutoencoder((1, 28, 28), [2] * 5)
    with pytest.raises(ValueError, match=r"an image is a single pixel after 5 layers"):
        ConvAutoencoder((1, 28, 28), [2] * 6)
    for wrong in ({"channels": []}, {"channels": [4], "code": 0}):
        with pytest.raises(ValueError, match="must be numbers of 1 or more"):
            ConvAutoencoder((1, 28, 28), **wrong)


@pytest.mark.parametrize(
    ("network", "sizes", "between"),
    [
        (MLPAutoencoder((1, 28, 28), [784, 20, 5], "GELU"), ["784", "20", "5"], ["GELU"]),
        (
            MLPAutoencoder((1, 28, 28), [784, 20, 10, 5], dropout=0.1, batch_norm=True),
            ["784", "20", "10", "5"],
            ["BatchNorm1d", "ReLU", "Dropout"],
        ),
        (ConvAutoencoder((3, 32, 32), [16, 32], 30), ["3x32x32", "16x16x16", "32x8x8", "30"], ["ReLU"]),
    ],
)
def test_a_networks_structure_is_read_from_its_modules(
    network: nn.Module, sizes: list[str], between: list[str]
) -> None:
    shape = (3, 32, 32) if isinstance(network, ConvAutoencoder) else (1, 28, 28)
    encoder = network.get_submodule("encoder")
    found = structure(encoder, shape)
    assert (found.sizes, found.between) == (sizes, between)
    assert str(found) == f"{'-'.join(sizes)} with {' and '.join(between)}"
    total = sum(p.numel() for p in encoder.parameters())
    assert found.parameters == sum(layer.parameters for layer in found.layers) == total
    assert all(module.training for module in network.modules()), "as it was before"
    assert not any(module._forward_hooks for module in network.modules())
    decoder = structure(network.get_submodule("decoder"), (int(sizes[-1]),))
    assert decoder.layers[-1].then == ("Sigmoid",)


def test_the_reports_architectures() -> None:
    autoencoder, classifier = modules.autoencoder(WIDTHS), modules.classifier(WIDTHS, [30, 20, 15, 10])
    sizes = [tuple(w.shape) for k, w in autoencoder.state_dict().items() if k.endswith("weight")]
    mirrored = [(500, 784), (200, 500), (100, 200), (30, 100), (100, 30), (200, 100), (500, 200), (784, 500)]
    assert sizes == mirrored
    assert {k.partition(".")[0] for k in autoencoder.state_dict()} == {"encoder", "decoder"}
    assert {k.partition(".")[0] for k in classifier.state_dict()} == {"encoder", "head"}
    assert str(structure(autoencoder.encoder, (1, 28, 28))) == "784-500-200-100-30 with ReLU"


def test_shapes_and_ranges_of_what_the_modules_return() -> None:
    images = torch.rand(7, 1, 28, 28)
    batch = (images, torch.zeros(7, dtype=torch.int64))
    made = modules.autoencoder(WIDTHS).predict_step(batch)
    assert made["code"].shape == (7, 30)
    assert made["reconstruction"].shape == images.shape
    assert made["reconstruction"].min() >= 0
    assert made["reconstruction"].max() <= 1
    classifier = modules.classifier(WIDTHS, [30, 20, 15, 10]).eval()
    guess = classifier.predict_step(batch)
    torch.testing.assert_close(guess["probabilities"].sum(1), torch.ones(7))
    assert torch.equal(guess["label"], guess["probabilities"].argmax(1))
    codes = classifier.encode(images)
    assert torch.equal(classifier(codes), classifier(images))
    assert torch.equal(classifier.encode(codes), codes)


@pytest.mark.parametrize("count", [0, 1, 2_345])
def test_predict_takes_any_number_of_images_and_drops_nothing_of_them(count: int) -> None:
    images = torch.randint(256, (count, 1, 28, 28), dtype=torch.uint8)
    for module in (modules.autoencoder(WIDTHS), modules.classifier(WIDTHS, [30, 20, 10], code_noise=1.0)):
        module.train()
        made = module.predict(images)
        assert all(len(values) == count for values in made.values())
        again = module.predict(images / 255)
        for name in {*made} - {"label"}:
            torch.testing.assert_close(again[name], made[name], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(made["code"], module.encode(images), rtol=1e-4, atol=1e-5)
        assert module.training


def test_predicting_and_drawing_change_nothing_in_a_module_that_trains() -> None:
    module = Autoencoder(
        MLPAutoencoder(modules.SHAPE, WIDTHS, dropout=0.5, batch_norm=True), modules.SHAPE
    ).train()
    module.encoder[-1].eval()  # a layer that a person has frozen
    images = torch.randint(256, (9, 1, 28, 28), dtype=torch.uint8)
    state = {name: value.clone() for name, value in module.state_dict().items()}
    modes = [layer.training for layer in module.modules()]
    drawn = reconstruct(module, ImageDataset(images, torch.zeros(9, dtype=torch.int64)), range(9))
    torch.testing.assert_close(module.predict(images)["reconstruction"], drawn, rtol=1e-4, atol=1e-5)
    with pytest.raises(RuntimeError):
        module.predict(images[..., :5])
    assert [layer.training for layer in module.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())


def test_the_encoder_stays_frozen_whatever_lightning_calls() -> None:
    classifier = modules.classifier(WIDTHS, [30, 20, 15, 10])
    classifier.train()
    assert classifier.head.training
    assert not classifier.encoder.training
    assert not any(p.requires_grad for p in classifier.encoder.parameters())


def test_softmax_before_the_loss_is_the_reports_code() -> None:
    torch.manual_seed(0)
    batch = (torch.randn(8, 30), torch.arange(8))
    classifier = modules.classifier(WIDTHS, [30, 20, 15, 10], loss_on="softmax")
    expected = nn.functional.cross_entropy(classifier(batch[0]).softmax(1), batch[1])
    assert classifier.loss(classifier(batch[0]), batch[1]) == expected
    assert expected > 1.46  # softmax outputs cannot get below 1.4612 = log(e + 9) - 1
