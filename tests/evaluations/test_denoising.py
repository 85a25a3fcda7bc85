"""Denoising: the numbers are those of the libraries, and the noise is the same for all."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import metrics, run_here, train
from page_reader import made
from pictures_made import write_pictures
from similar import similar
from skimage.filters import median
from skimage.morphology import disk
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle
from torch import Tensor

from aeprobe import load
from aeprobe.data.augmentation import Gaussian
from aeprobe.data.datamodule import ImageDataModule
from aeprobe.errors import AeprobeError
from aeprobe_tools.evaluations import denoising
from aeprobe_tools.evaluations.similarity import StructuralSimilarity, structural_similarity

NODE = "autoencoder.evaluations.denoising"
FEW = (f"{NODE}.stds=[0.5]", f"{NODE}.shares=[0.25]", f"{NODE}.images=30", f"{NODE}.tuned_on=5")
FIGURES = ("denoising", "denoising_psnr")
CHOSEN = ("evaluation@autoencoder.evaluations=denoising", *FEW)


@pytest.fixture(scope="module")
def tested(tmp_path_factory: pytest.TempPathFactory, trained: Path, root: Path) -> Path:
    """`stage=test` of an autoencoder, beside itself as the plain one: that of a `stage=all`."""
    path = tmp_path_factory.mktemp("denoising")
    typed = ("stage=test", f"ckpt={trained}/autoencoder", f"data.root={root}", *CHOSEN)
    done = train(*typed, f"{NODE}.plain={trained}", "hydra.run.dir=test", cwd=path)
    assert (done.status, done.err) == (0, "")
    return path / "test"


def found(run: Path, kind: str = "gaussian") -> dict[str, dict[str, Any]]:
    levels = metrics(run)["evaluations"]["denoising"]["levels"]
    (level,) = (level for level in levels if level["kind"] == kind)
    return {method["name"]: method for method in level["methods"]}


@pytest.fixture(scope="module")
def images(root: Path) -> tuple[Tensor, Tensor]:
    """Thirty test images, evenly spaced, and the same with the noise of standard deviation 0.5."""
    data = ImageDataModule(root=str(root))
    data.setup()
    clean, _ = data.splits["test"][torch.arange(30) * 10_000 // 30]
    torch.manual_seed(0)
    return clean, (clean + 0.5 * torch.randn_like(clean)).clamp(0, 1)


def test_its_numbers_are_those_of_the_libraries(
    tested: Path, trained: Path, images: tuple[Tensor, Tensor]
) -> None:
    clean, noisy = images
    methods = found(tested)
    grey = noisy[:, 0].numpy()
    by_hand = {
        "noisy": noisy,
        "autoencoder": load(trained / "autoencoder")(noisy).detach(),
        "median": [median(image, disk(int(methods["median"]["setting"]))) for image in grey],
        "total variation": [denoise_tv_chambolle(i, methods["total variation"]["setting"]) for i in grey],
        "non-local means": [denoise_nl_means(i, 5, 6, h=methods["non-local means"]["setting"]) for i in grey],
    }
    for name, result in by_hand.items():
        denoised = (
            result if isinstance(result, Tensor) else torch.from_numpy(np.stack(result)).unsqueeze(1).float()
        )
        denoised = denoised.clamp(0, 1)
        each = (denoised - clean).square().mean((1, 2, 3))
        assert methods[name]["mse"] == pytest.approx(each.mean().item(), rel=1e-4), name
        assert methods[name]["psnr"] == pytest.approx((-10 * each.log10()).mean().item(), rel=1e-4)
        assert methods[name]["ssim"] == pytest.approx(similar(denoised, clean), rel=1e-3)
    assert methods["plain"]["mse"] == methods["autoencoder"]["mse"]
    assert 8 < methods["PCA"]["psnr"] < 20


def test_structural_similarity_is_that_of_the_windows_inside(images: tuple[Tensor, Tensor]) -> None:
    clean, noisy = images
    found = structural_similarity(noisy, clean)
    expected = [similar(*pair) for pair in zip(noisy.split(1), clean.split(1), strict=True)]
    assert found.tolist() == pytest.approx(expected, rel=1e-3)
    metric = StructuralSimilarity()
    for pair in zip(noisy.split(20), clean.split(20), strict=True):  # of 20 and of 10
        metric.update(*pair)
    assert metric.compute().item() == pytest.approx(similar(noisy, clean), rel=1e-3)
    colours = noisy.view(10, 3, 28, 28), clean.view(10, 3, 28, 28)
    assert structural_similarity(*colours).mean().item() == pytest.approx(similar(*colours), rel=1e-3)
    with pytest.raises(ValueError, match="smaller than a window of 11"):
        structural_similarity(noisy[..., :10, :], clean[..., :10, :])


def test_masked_pixels_are_black_and_a_quarter_of_all(tested: Path, images: tuple[Tensor, Tensor]) -> None:
    power = images[0].square().mean().item()
    assert found(tested, "masking")["noisy"]["mse"] == pytest.approx(power / 4, rel=0.1)


def test_a_filter_s_setting_is_its_best_on_the_images_that_it_is_tuned_on(images: tuple[Tensor, Tensor]) -> None:
    clean, noisy = (part[:5].movedim(1, 3).numpy() for part in images)
    for name, settings in denoising.SETTINGS.items():
        errors = {s: np.square(denoising.filtered(name, noisy, s) - clean).mean() for s in settings}
        assert errors[denoising.best_setting(name, clean, noisy)] == min(errors.values())


def test_the_noise_depends_on_no_run(tested: Path, trained: Path, root: Path, tmp_path: Path) -> None:
    typed = ["stage=test", f"ckpt={trained}/autoencoder", f"data.root={root}", "seed=5", *CHOSEN]
    run_here(tmp_path / "test", [*typed, "trainer.figures=false"])
    assert found(tmp_path / "test")["noisy"] == found(tested)["noisy"]
    assert found(tmp_path / "test")["median"] == found(tested)["median"]  # tuned on other images, alike


def test_the_page_shows_it(tested: Path) -> None:
    psnr = found(tested)["autoencoder"]["psnr"]
    assert f"the autoencoder brings them back with a PSNR of {psnr:.1f} dB" in made(tested).text
    alts = [json.loads((tested / "figures" / f"{name}.json").read_text())["alt"] for name in FIGURES]
    assert f"{psnr:.1f} dB by the autoencoder" in alts[0]
    assert "of 2 levels of noise" in alts[1]


@pytest.mark.slow
def test_a_training_may_ask_it_at_its_end(root: Path, tmp_path: Path) -> None:
    typed = ("experiment=denoising", "stage=autoencoder", "trainer=debug", f"data.root={root}", *FEW)
    typed += ("trainer.precision=64-true",)
    done = train(*typed, "hydra.run.dir=run", cwd=tmp_path)
    assert (done.status, done.err) == (0, "")
    assert "this autoencoder" in made(tmp_path / "run").text


@pytest.mark.slow
def test_colours_are_filtered_together(tmp_path: Path) -> None:
    write_pictures(tmp_path / "own", 12)
    typed = ("data=images", "data.root=own", "data.source.size=16", "stage=autoencoder", "trainer=debug")
    done = train(*typed, *CHOSEN, "trainer.evaluate=true", "hydra.run.dir=run", cwd=tmp_path)
    assert (done.status, done.err) == (0, "")
    assert {"median", "total variation", "non-local means"} < found(tmp_path / "run").keys()


def test_clipped_noise_stays_between_black_and_white() -> None:
    torch.manual_seed(0)
    images = torch.rand(4, 1, 28, 28)
    noisy = Gaussian(0.5, clip=True)(images)
    torch.manual_seed(0)
    torch.rand(4, 1, 28, 28)
    assert torch.equal(noisy, Gaussian(0.5)(images).clamp(0, 1))
    assert 0 == noisy.min() < noisy.max() == 1


REFUSED = {
    f"{NODE}.stds=[0.0]": "std=0.0: must be above 0",
    f"{NODE}.shares=[1.5]": "share=1.5: must be above 0 and below 1",
    f"{NODE}.images=0": "images=0 tuned_on=40: must be 1 or more",
    f"{NODE}.stds=[] {NODE}.shares=[]": "must have one level of noise or more",
    f"{NODE}.plain={{0}}/classifier": "holds a classifier",
    f"{NODE}.plain=nowhere": "nowhere: there is no such file or directory",
}


@pytest.mark.parametrize("typed", REFUSED)
def test_what_cannot_be_is_refused_before_anything_is_written(
    typed: str, trained: Path, root: Path, tmp_path: Path
) -> None:
    words = ["stage=test", f"ckpt={trained}/autoencoder", f"data.root={root}", CHOSEN[0]]
    with pytest.raises(AeprobeError, match=REFUSED[typed]) as caught:
        run_here(tmp_path / "run", [*words, *typed.replace("{0}", str(trained)).split()])
    assert "\n" not in str(caught.value)
    assert not any(tmp_path.iterdir())


def test_without_its_package_it_is_left_out_unless_it_was_typed(
    trained: Path, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    from aeprobe.training import instantiate

    monkeypatch.setattr(instantiate, "find_spec", lambda _: None)
    words = ["stage=test", f"ckpt={trained}/autoencoder", "data=folder", f"data.root={few}", "data.val_size=20"]
    with pytest.raises(AeprobeError, match=r"skimage is not installed: pip install 'aeprobe\[denoising\]'"):
        run_here(tmp_path / "run", [*words, CHOSEN[0]])
    run_here(tmp_path / "run", [*words, "trainer.figures=false"])
    assert metrics(tmp_path / "run")["evaluations"].keys() == {"compression"}
    assert "left out" in caplog.text
