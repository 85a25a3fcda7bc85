"""Bytes and losses of a quantised code, of PCA and of files of pictures."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY, metrics, train
from finished_runs import config, write_stage
from finished_runs import metrics as made
from images import write_folder
from modules import autoencoder, classifier
from page_reader import Page
from page_reader import made as page
from PIL import Image

from aeprobe.data.datamodule import ImageDataset
from aeprobe.errors import AeprobeError
from aeprobe.evaluation import Subject
from aeprobe.models.autoencoder import Autoencoder
from aeprobe.models.networks import ConvAutoencoder
from aeprobe_tools.evaluations.compression import Compression, curves, measured, psnr
from aeprobe_tools.evaluations.quantizer import Quantizer, entropy

NODE = {"compression": {"_target_": "aeprobe_tools.evaluations.compression.Compression"}}
CONFIG = config("test", autoencoder__evaluations=NODE)


def images(count: int, *shape: int, seed: int = 0) -> ImageDataset:
    """Smooth made-up images, which a file of a picture makes smaller."""
    random = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, shape[0], 4, 4, generator=random)
    fine = torch.nn.functional.interpolate(coarse, shape[1:], mode="bilinear")
    return ImageDataset((fine * 255).byte(), torch.arange(count) % 3)


def found(module: Any, *shape: int, bits: tuple[int, ...] = (2, 8)) -> dict[str, Any]:
    splits = {"train": images(200, *shape), "test": images(60, *shape, seed=1)}
    with torch.no_grad():
        numbers = Compression(bits)(Subject(module.eval(), splits, 0)).numbers
    json.dumps(numbers, allow_nan=False)
    return numbers


@pytest.mark.parametrize("bits", [1, 3, 8])
def test_a_number_changes_by_half_a_cell_at_most(bits: int) -> None:
    codes = torch.randn(500, 3, generator=torch.Generator().manual_seed(bits)) * torch.tensor([1.0, 50.0, 1e-3])
    low, high = codes.aminmax(dim=0)
    quantizer = Quantizer(low, high, bits)
    indices = quantizer.indices(codes)
    assert (indices.min(), indices.max()) == (0, 2**bits - 1)
    cells = (high - low).double() / 2**bits
    error = (quantizer.values(indices) - codes).abs()
    assert (error <= cells / 2 * (1 + 1e-6)).all()
    assert (error.amax(0) > cells * 0.4).all()  # and by no less: the bound is the cell's
    outside = quantizer.indices(torch.stack([low - 9, high + 9]))
    assert outside.tolist() == [[0] * 3, [2**bits - 1] * 3]
    never = Quantizer(low, low, bits)  # a number that never changes stays
    assert torch.equal(never.values(never.indices(low[None])).float(), low[None])


def test_the_entropy_is_that_of_each_number_by_itself() -> None:
    # 1/2, 1/4, 1/4: 1.5 bits; always the same: none; four alike: 2 bits.
    indices = torch.tensor([[0, 5, 0], [0, 5, 1], [1, 5, 2], [7, 5, 3]], dtype=torch.uint8)
    assert entropy(indices) == pytest.approx(1.5 + 0 + 2)
    assert entropy(indices[:1]) == 0


def test_files_have_the_bytes_that_they_have_on_disk(tmp_path: Path) -> None:
    test = images(12, 3, 24, 18).images
    count, rows = measured(test)
    assert count == 12
    for name, quality, options in (
        ("JPEG", 50, {"quality": 50, "optimize": True}),
        ("WebP", 0, {"quality": 0, "method": 6}),
        ("PNG", None, {"optimize": True}),
    ):
        sizes, errors = [], []
        for i, image in enumerate(test.movedim(1, 3).numpy()):
            file = tmp_path / f"{i}.{name.lower()}"
            Image.fromarray(image).save(file, **options)
            sizes.append(file.stat().st_size)
            errors.append((np.asarray(Image.open(file), float) / 255 - image / 255) ** 2)
        (row,) = (row for row in rows if (row["format"], row["quality"]) == (name, quality))
        assert row["bytes"] == pytest.approx(np.mean(sizes), rel=1e-12)
        assert row["mse"] == pytest.approx(np.mean(errors), rel=1e-9)
        assert (row["psnr"] is None) == (name == "PNG")
    assert {row["quality"] for row in rows if row["format"] == "JPEG"} >= {1, 95}
    assert measured(test[:, :2]) == (0, [])


def test_the_rates_of_a_module_are_those_of_its_own_reconstructions() -> None:
    module = autoencoder([784, 20, 5])
    numbers = found(module, 1, 28, 28)
    test = images(60, 1, 28, 28, seed=1).images
    with torch.no_grad():
        codes = module.encode(test)
        low, high = module.encode(images(200, 1, 28, 28).images).aminmax(dim=0)
        rows = {row["bits"]: row for row in numbers["rates"]}
        for bits, values in ((32, codes), (16, codes.half().float())):
            mse = (module.decoder(values) - test / 255).square().mean().item()
            assert rows[bits]["mse"] == pytest.approx(mse, rel=1e-5)
            assert (rows[bits]["bytes"], rows[bits]["entropy_bytes"]) == (bits * 5 / 8, None)
        cell = (high - low) / 4
        values = low + (((codes - low) / cell).floor().clamp(0, 3) + 0.5) * cell
        mse = (module.decoder(values) - test / 255).square().mean().item()
    assert rows[2]["mse"] == pytest.approx(mse, rel=1e-5)
    assert rows[2]["bytes"] == 1.25
    assert 0 < rows[2]["entropy_bytes"] < 1.25
    assert rows[2]["psnr"] == pytest.approx(-10 * math.log10(rows[2]["mse"]))
    assert "accuracy" not in rows[2]
    assert psnr(0.0) is None


def test_pca_is_quantised_alike_and_without_loss_where_it_has_all_directions() -> None:
    numbers = found(autoencoder([784, 16]), 1, 28, 28, bits=(1, 8))
    lost = [row["mse"] for row in numbers["pca"]]
    assert [row["bytes"] for row in numbers["pca"]] == [2, 16, 32, 64]
    assert lost[0] > lost[1] > lost[3]
    assert lost[3] < 1e-5  # 16 corners of a bilinear image, but for the rounding to bytes


@pytest.mark.parametrize("shape", [(3, 20, 16), (2, 9, 9)])
def test_images_of_any_shape_and_a_convolutional_network(shape: tuple[int, int, int]) -> None:
    module = Autoencoder(ConvAutoencoder(shape, code=3, channels=[4, 4]), shape)
    numbers = found(module, *shape)
    assert (numbers["code"], numbers["images"]) == (3, 60)
    assert [row["bytes"] for row in numbers["rates"]] == [0.75, 3, 6, 12]
    assert bool(numbers["files"]) == (shape[0] != 2)
    drawing = curves(numbers)
    assert "60 test images; code, 2 to 32 bits: 0.75 bytes (MSE " in drawing.alt
    assert ("PNG, lossless: " in drawing.alt) == (shape[0] != 2)


def test_images_that_are_all_alike() -> None:
    black = ImageDataset(torch.zeros(5, 1, 28, 28, dtype=torch.uint8), torch.zeros(5, dtype=torch.int64))
    with torch.no_grad():
        numbers = Compression()(Subject(autoencoder([784, 4]).eval(), {"train": black, "test": black}, 0)).numbers
    assert {row["entropy_bytes"] for row in numbers["rates"][:7]} == {0}
    assert [row["bytes"] for row in numbers["pca"]] == [0] * 9  # there is no direction
    curves(numbers).figure.canvas.draw()


def test_bits_that_cannot_be_are_refused() -> None:
    for bits in ([], [0], [9], [2, 2], [2.0], ["2"]):
        with pytest.raises(ValueError, match="bits"):
            Compression(bits)


def test_a_classifier_alone_is_refused() -> None:
    module = classifier([784, 5], [5, 3]).eval()
    splits = {"train": images(5, 1, 28, 28), "test": images(5, 1, 28, 28)}
    with pytest.raises(AeprobeError, match="a classifier decodes nothing"):
        Compression()(Subject(module, splits, 0))


@pytest.mark.slow
def test_measured_again_from_the_command_line(tmp_path: Path) -> None:
    write_folder(tmp_path / "own")
    few = ("data=folder", "data.root=own", "data.val_size=100", "trainer.limit_test_batches=null")
    done = train(*TINY, *few, "hydra.run.dir=both", cwd=tmp_path)
    assert done.status == 0, done.err
    bits = "autoencoder.evaluations.compression.bits=[4,8]"
    done = train("stage=test", "ckpt=both/autoencoder", bits, "hydra.run.dir=run", cwd=tmp_path)
    assert (done.status, done.err) == (0, "")
    run = metrics(tmp_path / "run")
    rows = {row["bits"]: row for row in run["evaluations"]["compression"]["rates"]}
    assert rows[32]["mse"] == pytest.approx(run["final"]["test/mse"], rel=1e-5)
    assert run["final"]["test/mse_8_bits"] == rows[8]["mse"]
    accuracy = metrics(tmp_path / "both" / "classifier")["final"]["test/accuracy"]
    assert rows[32]["accuracy"] == pytest.approx(accuracy, abs=1e-6)
    drawn = json.loads((tmp_path / "run" / "figures" / "compression.json").read_text())
    assert drawn["alt"].startswith("300 test images; code, 4 to 32 bits: 15 bytes (MSE ")
    again = Page(tmp_path / "run" / "report.html")
    assert "With 8 bits for each number an image takes 30 bytes" in again.text
    assert again.table("Beyond the report · Codes of 300 test images")["8"][0] == "30"
    assert drawn["alt"] in [picture["alt"] for picture in again.pictures]


def numbers_of(mse: float, code: int = 30) -> dict[str, Any]:
    def row(bits: int, kind: str) -> dict[str, Any]:
        size = {"bytes": bits * code / 8, "entropy_bytes": 25.5}
        return {"bits": bits, "kind": kind, "mse": mse, "psnr": 20.0, **size}

    files = [
        ("JPEG", 1, 200.0, 0.01),
        ("JPEG", 50, 300.0, 0.002),
        ("WebP", 0, 90.0, 0.0005),
        ("PNG", None, 270.0, 0.0),
    ]
    rows = [row(8, "uniform"), row(16, "float"), row(32, "float") | {"mse": mse / 1.01}]
    named = [{"format": f, "quality": q, "bytes": b, "mse": m, "psnr": None} for f, q, b, m in files]
    return {"images": 10, "code": code, "rates": rows, "pca": rows, "picture_files": 5, "files": named}


SENTENCES = {
    0.005: "JPEG needs 300 bytes for that MSE or less (quality 50).",
    0.001: "JPEG has a larger MSE at every quality.",
}


@pytest.mark.parametrize("mse", SENTENCES)
def test_the_sentence_says_where_jpeg_never_gets(mse: float, tmp_path: Path) -> None:
    of = made("test", config=CONFIG, evaluations={"compression": numbers_of(mse)})
    shown = page(write_stage(tmp_path / "run", of, figures=False))
    assert SENTENCES[mse] in shown.text
    assert f"the code as it is takes 120 bytes and has {mse / 1.01:.5f}" in shown.text
    assert "WebP needs 90 bytes for that MSE or less (quality 0)" in shown.text
    assert "PNG needs 270 bytes for that MSE or less (lossless)" in shown.text


def test_numbers_that_the_class_cannot_read_cost_no_page(tmp_path: Path) -> None:
    of = made("test", config=CONFIG, evaluations={"compression": numbers_of(0.005) | {"rates": None}})
    text = page(write_stage(tmp_path / "run", of, figures=False)).text
    assert "metrics.json has its numbers, but they cannot be shown here (TypeError" in text
