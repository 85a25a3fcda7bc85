"""`aeprobe export`: files that give what the run gives, say what they are, and are written whole or not at all."""

import io
import json
import re
import shutil
import sys
from contextlib import redirect_stderr, redirect_stdout
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from conftest import REPO, Result, metrics
from torch import Tensor

from aeprobe.errors import AeprobeError
from aeprobe.files import checksum
from aeprobe.models import checkpoints
from aeprobe.models.autoencoder import Autoencoder
from aeprobe.models.classifier import Classifier
from aeprobe.models.networks import MLP, ConvAutoencoder
from aeprobe.models.variational import VariationalAutoencoder
from aeprobe_tools.use import export

NAMES = [f"{stage}.{suffix}" for stage in ("autoencoder", "classifier") for suffix in ("onnx", "pt2")]

HOSTILE = "<script>alert('$&')"


def call(*arguments: str | Path) -> Result:
    """The command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = export.main([*map(str, arguments)])
    return Result(status, out.getvalue(), err.getvalue())


def refused(done: Result) -> str:
    assert (done.status, done.out, done.err.count("\n")) == (1, "", 1), done.err
    assert done.err.startswith("error: ")
    return done.err


@pytest.fixture(scope="module")
def exported(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """A stage=all run with its `export`, and what the command said."""
    run = tmp_path_factory.mktemp("exported") / "first"
    shutil.copytree(trained, run)
    return run, call(run)


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of a stage=all run."""
    return Path(shutil.copytree(trained, tmp_path / "first"))


@pytest.fixture(scope="module")
def images(root: Path) -> Tensor:
    """MNIST's test images, uint8, by another way than the command's."""
    content = (root / "MNIST" / "raw" / "t10k-images-idx3-ubyte").read_bytes()
    return torch.from_numpy(np.frombuffer(content, np.uint8, 1200 * 784, 16).reshape(-1, 1, 28, 28).copy())


def by_onnxruntime(file: Path, images: Tensor) -> dict[str, Tensor]:
    session = onnxruntime.InferenceSession(file)
    names = [one.name for one in session.get_outputs()]
    found = session.run(names, {"images": images.numpy()})
    return {name: torch.from_numpy(values) for name, values in zip(names, found, strict=True)}


def by_torch(file: Path, images: Tensor) -> dict[str, Tensor]:
    found: dict[str, Tensor] = torch.export.load(file).module()(images)
    return found


def require_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert [*found] == [*expected]
    for name, values in expected.items():
        assert found[name].dtype == values.dtype
        assert not found[name].requires_grad
        assert torch.allclose(found[name], values, rtol=1e-5, atol=1e-5), name


def of_the_batch(module: Autoencoder, images: Tensor) -> Tensor:
    """A code that depends on the other images, which no file may."""
    code: Tensor = module.encoder(module.normalize(images))
    return code + images.to(code).mean()


@pytest.mark.parametrize("stage", ["autoencoder", "classifier"])
def test_both_files_give_what_the_run_gives_for_any_batch(
    stage: str, exported: tuple[Path, Result], images: Tensor
) -> None:
    run, done = exported
    assert (done.status, done.err) == (0, "")
    for some in (images, images[:1], images[1:8]):
        expected = checkpoints.load(run, stage=stage).predict(some)
        require_same(by_onnxruntime(run / "export" / f"{stage}.onnx", some), expected)
        require_same(by_torch(run / "export" / f"{stage}.pt2", some), expected)


def test_it_says_of_each_file_its_size_and_how_exact_it_is(exported: tuple[Path, Result]) -> None:
    run, done = exported
    assert sorted(path.name for path in (run / "export").iterdir()) == NAMES
    for name, line in zip(NAMES, done.out.splitlines(), strict=True):
        size, apart = re.findall(
            rf"/{name}: (.*) MB, differs from the run by at most (.*) on 1,000 images$", line
        )[0]
        assert float(size) == pytest.approx((run / "export" / name).stat().st_size / 1e6, abs=0.01)
        assert float(apart) <= 1e-5


def metadata(file: Path) -> dict[str, Any]:
    """As others read it."""
    if file.suffix == ".onnx":
        found = {one.key: one.value for one in onnx.load(file).metadata_props}
        assert found == onnxruntime.InferenceSession(file).get_modelmeta().custom_metadata_map
        for key in ("seed", "metrics", "data", "class_names"):
            found[key] = json.loads(found[key])
        return found
    extra = {"metadata.json": ""}
    torch.export.load(file, extra_files=extra)
    return dict(json.loads(extra["metadata.json"]))


def test_a_file_says_what_it_is_and_names_no_place_on_this_machine(exported: tuple[Path, Result]) -> None:
    run, _ = exported
    for name in NAMES:
        stage, file = name.partition(".")[0], run / "export" / name
        final = metrics(run / stage)["final"]
        found = metadata(file)
        assert found == {
            "run": "first",
            "stage": stage,
            "seed": 3,
            "status": "completed",
            "checkpoint": checksum(run / stage / "checkpoints" / "best.ckpt"),
            "metrics": {key: value for key, value in final.items() if key.startswith("test/")},
            "data": {"name": "mnist", "val_size": 5000, "split_seed": 3},
            "class_names": [*"0123456789"] if stage == "classifier" else [],
            "input": "images, uint8 (N, 1, 28, 28), 0 to 255",
            "license": "MIT",
            "aeprobe": version("aeprobe"),
            "torch": torch.__version__,
        }
        assert found["metrics"]
        content = file.read_bytes()
        for place in (REPO, run.parent, Path(torch.__file__).parents[1], Path.home()):
            assert str(place).encode() not in content


def test_the_names_shapes_and_opset_are_as_documented(exported: tuple[Path, Result]) -> None:
    run, _ = exported
    model = onnx.load(run / "export" / "classifier.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert [(one.domain, one.version) for one in model.opset_import] == [("", export.OPSET)]
    of_values = [*model.graph.input, *model.graph.output]
    shapes = {
        one.name: [side.dim_param or side.dim_value for side in one.type.tensor_type.shape.dim]
        for one in of_values
    }
    assert shapes == {
        "images": ["batch", 1, 28, 28],
        "code": ["batch", 30],
        "probabilities": ["batch", 10],
        "label": ["batch"],
    }
    assert f"ONNX has opset {export.OPSET};" in (REPO / "docs" / "EXPORT.md").read_text()


def test_images_may_be_floats_and_no_file_is_replaced(
    exported: tuple[Path, Result], images: Tensor, tmp_path: Path
) -> None:
    run, _ = exported
    before = {path: path.read_bytes() for path in (run / "export").iterdir()}
    assert "export/autoencoder.onnx exists: give another path" in refused(call(run))
    assert before == {path: path.read_bytes() for path in (run / "export").iterdir()}
    assert "cannot be written (No such file" in refused(call(run, "-o", tmp_path / "a" / "b", "--format", "torch"))
    done = call(run, "--format", "torch", "--input", "float", "-o", tmp_path / "own")
    assert (done.status, done.err) == (0, "")
    pixels = images[:9] / 255
    for stage in ("autoencoder", "classifier"):
        require_same(
            by_torch(tmp_path / "own" / f"{stage}.pt2", pixels), checkpoints.load(run, stage=stage).predict(pixels)
        )
    assert metadata(tmp_path / "own" / "classifier.pt2")["input"] == "images, float (N, 1, 28, 28), in [0, 1]"


def test_a_file_that_differs_from_the_run_is_not_written(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predict = Classifier.predict

    def other(module: Classifier, images: Tensor) -> dict[str, Tensor]:
        found = predict(module, images)
        return found | {"probabilities": found["probabilities"] + 2e-5}

    before = {*run.iterdir()}
    with monkeypatch.context() as patch:
        patch.setattr(Classifier, "predict", other)
        said = refused(call(run, "--format", "torch"))
    assert "probabilities: the exported file differs from the run by 2.0e-05" in said
    assert said.endswith("nothing was written\n")
    monkeypatch.setattr(Autoencoder, "encode", of_the_batch)
    assert "code: the exported file differs from the run" in refused(call(run, "--format", "torch"))
    assert {*run.iterdir()} == before


def test_what_counts_as_a_difference() -> None:
    values = {"code": torch.tensor([[0.5, -20.0]]), "label": torch.tensor([3])}
    assert export.difference(values, values) == 0
    near = values | {"code": values["code"] + torch.tensor([1e-4, 0])}
    assert export.difference(near, values) == pytest.approx(1e-4 / 20, rel=0.01)
    for other in (
        {"label": torch.tensor([4])},
        {"label": torch.tensor([3], dtype=torch.int32)},
        {"code": values["code"] + 3e-4},
        {"code": values["code"] * float("nan")},
        {"code": values["code"][:, :1]},
        {"more": values["code"]},
    ):
        with pytest.raises(AeprobeError, match="exported file"):
            export.difference(values | other, values)


def test_without_its_packages_onnx_is_refused_and_torch_is_written(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] in export.PACKAGES]:
        monkeypatch.setitem(sys.modules, name, None)  # to import it is an ImportError
    monkeypatch.setattr(export, "find_spec", lambda name: None if name == "onnxscript" else True)
    assert "onnx: not installed: onnxscript: pip install 'aeprobe[export]'" in refused(call(run))
    assert not (run / "export").exists()
    assert call(run / "autoencoder", "--format", "torch", "-o", run / "own").status == 0
    assert [path.name for path in (run / "own").iterdir()] == ["autoencoder.pt2"]


def branches(module: Autoencoder, images: Tensor) -> Tensor:
    code: Tensor = module.encoder(module.normalize(images))
    return -code if code.sum() > 0 else code


def test_a_network_that_cannot_be_exported_is_told_in_a_line(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Autoencoder, "encode", branches)
    said = "torch.export cannot follow its network (Could not guard on data-dependent expression"
    assert f"best.ckpt: {said}" in refused(call(run / "autoencoder", "--format", "onnx"))
    assert not (run / "autoencoder" / "export").exists()


def test_no_run_and_a_checkpoint_alone(run: Path, tmp_path: Path) -> None:
    assert "there is no such file or directory" in refused(call(tmp_path / "none"))
    assert "holds no checkpoint" in refused(call(tmp_path))
    assert "File name too long" in refused(call("a" * 300))
    alone = Path(shutil.copy(run / "classifier" / "checkpoints" / "best.ckpt", tmp_path / "my.ckpt"))
    assert "is a file: give a directory for what is exported with -o" in refused(call(alone))
    assert call(alone, "-o", tmp_path / "out", "--format", "torch").status == 0
    found = metadata(tmp_path / "out" / "classifier.pt2")
    assert (found["run"], found["metrics"], "seed" in found) == ("my.ckpt", {}, False)


def test_of_images_that_are_gone_and_classes_that_are_called_anything(run: Path, images: Tensor) -> None:
    path = run / "classifier" / "checkpoints" / "best.ckpt"
    checkpoint = checkpoints.read(path)
    source = {"_target_": "aeprobe.data.mnist.IdxFolder"}
    names = [HOSTILE, "\n", '"},{', "Ä", *"456789"]
    checkpoint["datamodule_hyper_parameters"] |= {
        "name": "folder",
        "source": source,
        "root": "gone",
        "class_names": names,
    }
    checkpoints.AtomicCheckpointIO().save_checkpoint(checkpoint, path)
    done = call(run / "classifier")
    assert done.status == 0
    assert done.err.count("\n") == 1
    assert "is checked on random images, not on its test images: " in done.err
    for name, by in (("classifier.onnx", by_onnxruntime), ("classifier.pt2", by_torch)):
        file = run / "classifier" / "export" / name
        assert metadata(file)["class_names"] == names
        require_same(by(file, images[:5]), checkpoints.load(run).predict(images[:5]))


def test_other_networks_and_images_in_colours() -> None:
    """Each module is compared with its file while that is made."""
    shape, conv = (3, 16, 16), ConvAutoencoder((3, 16, 16), [4, 8], 5)
    images = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (9, *shape), np.uint8))
    head = MLP([5, 4, 3], batch_norm=True, dropout=0.2)
    for module in (
        VariationalAutoencoder(network=conv, shape=shape, mean=0.2, std=0.3),
        Classifier(conv.encoder, head, shape, standardize=True, code_noise=0.1),
    ):
        files = [*export.exported(module.eval(), images, [*export.FORMATS], {})]
        assert [(form, apart <= 1e-5) for form, _, apart in files] == [("onnx", True), ("torch", True)]


def test_the_examples_of_the_page_work(
    exported: tuple[Path, Result], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(exported[0].parent)
    page = (REPO / "docs" / "EXPORT.md").read_text()
    by_onnx, by_pt2 = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    for block, said in (
        (by_onnx, r"first \['\d'(, '\d'){6}\] \["),
        (by_pt2, r"first .*\[7, 30\].*\[7, 1, 28, 28\]"),
    ):
        assert len(block.splitlines()) <= 10
        exec(block.replace("RUN/", "first/"), {})
        assert re.match(said, capsys.readouterr().out)
