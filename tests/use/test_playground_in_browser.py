"""The playground in a real browser, from disk: its arithmetic beside torch's, and all that a visitor does."""

import base64
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bench.digit_pictures import KINDS as DIGIT_PICTURES
from browser import CONTRASTS, IN_BROWSER, Opened, chromium
from conftest import TINY, only, train
from pictures_made import write_pictures
from PIL import Image, ImageOps

from aeprobe.data.datamodule import ImageDataset, as_pixels
from aeprobe.data.image_folder import decoded
from aeprobe.models import checkpoints
from aeprobe.models.autoencoder import Autoencoder
from aeprobe.models.classifier import Classifier
from aeprobe_tools.use.playground import write_playground
from aeprobe_tools.use.preparation import prepared
from aeprobe_tools.use.trained import load_stage

pytestmark = IN_BROWSER
ONE_EPOCH = ("seed=2", "autoencoder.max_epochs=1", "trainer.figures=false")
SHORT = ("classifier.max_epochs=1", "trainer.limit_train_batches=200")
KINDS = {
    "mlp": ("experiment=best", "autoencoder.augmentation.epochs=null", "classifier.max_epochs=5"),
    "conv": ("network@autoencoder.network=conv", "autoencoder.network.activation=GELU", "data.std=0.5", *SHORT),
    "variational": ("autoencoder=variational", "autoencoder.network.batch_norm=true", *SHORT),
}
COMPUTED = """text => {
  const bytes = Uint8Array.from(atob(text), c => c.charCodeAt(0)), size = 784, found = [];
  const { encode, decode, classify } = window.aeprobe;
  for (let i = 0; i < bytes.length; i += size) {
    const code = encode(Float32Array.from(bytes.subarray(i, i + size), b => b / 255));
    found.push([[...code], [...classify(code)], [...decode(code)]]);
  }
  return found;
}"""
SHOWN = """id => {
  const canvas = document.getElementById(id), { width, height } = canvas;
  const copy = new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true });
  copy.drawImage(canvas, 0, 0);
  return [...copy.getImageData(0, 0, width, height).data].filter((_, i) => i % 4 === 0);
}"""
SHOWN_PAPER = "document.getElementById('paper').toDataURL()"
SEEN, CODE = "aeprobe.state.pixels", "aeprobe.state.code"
PREPARED = """([text, height, width]) => {
  const bytes = Uint8Array.from(atob(text), c => c.charCodeAt(0));
  const data = Uint8ClampedArray.from({ length: 4 * height * width }, (_, i) =>
    i % 4 === 3 ? 255 : bytes[3 * Math.floor(i / 4) + i % 4]);
  return [...window.aeprobe.prepared({ height, width, data })].map(value => Math.round(255 * value));
}"""
SHIFTED = """() => new Promise(done => {
  new PerformanceObserver(list => done(list.getEntries().reduce((sum, entry) => sum + entry.value, 0)))
    .observe({ type: "layout-shift", buffered: true });
  setTimeout(() => done(0), 300); // there was none
})"""  # how far things moved while the page was opened; Chromium's "good" ends at 0.1
NAMELESS = """[...document.querySelectorAll('input, select, button')]
  .filter(e => !e.ariaLabel && !e.labels?.length && !e.textContent.trim()).map(e => e.outerHTML)"""
FOCUSED = "document.activeElement"
OUTLINE = f"getComputedStyle({FOCUSED}.closest('label.button') ?? {FOCUSED}).outlineStyle"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module", params=[*KINDS])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    if request.param == "mlp":
        return request.getfixturevalue("best")
    return trained(request.param, tmp_path_factory.mktemp(request.param), root)


def trained(kind: str, cwd: Path, root: Path) -> Path:
    """A run that has seen some thousands of images, with its playground."""
    done = train(*ONE_EPOCH, *KINDS[kind], f"data.root={root}", cwd=cwd)
    assert done.status == 0, done.err
    path = only(cwd / "outputs" / "all")
    write_playground(path)
    return path


def modules(run: Path) -> tuple[Autoencoder, Classifier, ImageDataset]:
    trained, classifier = load_stage(run), load_stage(run, "classifier").module
    assert isinstance(trained.module, Autoencoder)
    assert isinstance(classifier, Classifier)
    return trained.module, classifier, trained.images("test")


@torch.no_grad()
def rounded(module: Autoencoder | Classifier) -> None:
    """Gives a module the weights that the page has, 16-bit floats: the same to the last digit but rounding."""
    for layer in module.modules():
        if isinstance(layer, torch.nn.Linear | torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            layer.weight.copy_(layer.weight.half())


def test_it_computes_what_torch_does(run: Path, browser: Any) -> None:
    autoencoder, classifier, test = modules(run)
    images = test.images[:1000]
    opened = Opened(browser, run / "playground.html", 1200)
    text = base64.b64encode(images.numpy().tobytes()).decode()
    found = opened.page.evaluate(COMPUTED, text)
    code, probabilities, reconstruction = (torch.tensor(part) for part in zip(*found, strict=True))
    theirs = autoencoder.predict(images) | classifier.predict(images)
    difference = (probabilities - theirs["probabilities"]).abs().max()
    assert difference <= 2e-3
    assert (reconstruction - theirs["reconstruction"].flatten(1)).abs().max() <= 2e-3
    assert (code - theirs["code"]).abs().max() <= 2e-3 * theirs["code"].abs().max()
    first, second = theirs["probabilities"].topk(2).values.T
    labels, clear = probabilities.argmax(1), first - second > 2 * difference
    assert torch.equal(labels[clear], theirs["label"][clear])
    assert clear.sum() >= 990
    for module in (autoencoder, classifier):
        rounded(module)
    theirs = autoencoder.predict(images) | classifier.predict(images)
    for name, found in (("code", code), ("probabilities", probabilities), ("reconstruction", reconstruction)):
        assert (found - theirs[name].flatten(1)).abs().max() <= 1e-4 * theirs[name].abs().max(), name
    assert torch.equal(labels, theirs["label"])
    opened.page.close()


@pytest.fixture(scope="module")
def best(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    """A run of the default network whose answers are good."""
    return trained("mlp", tmp_path_factory.mktemp("best"), root)


@pytest.fixture
def opened(best: Path, browser: Any) -> Iterator[Opened]:
    on_a_desk = Opened(browser, best / "playground.html", 1200)
    on_a_desk.settle()
    yield on_a_desk
    assert on_a_desk.failures == []
    assert [url for url in on_a_desk.requests if not url.startswith("blob:")] == [on_a_desk.file.as_uri()]
    on_a_desk.page.close()


def answer(opened: Opened) -> str:
    opened.settle()
    return str(opened.page.text_content("#answer"))


def draw(opened: Opened, *points: tuple[float, float]) -> None:
    """A stroke through points in the unit square, by the mouse."""
    opened.page.locator("#paper").scroll_into_view_if_needed()
    box = opened.page.locator("#paper").bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    opened.page.mouse.move(*places[0])
    opened.page.mouse.down()
    for place in places[1:]:
        opened.page.mouse.move(*place, steps=8)
    opened.page.mouse.up()
    opened.settle()


ONE = [(0.52, 0.2), (0.48, 0.8)]
ZERO = [(0.5 + 0.2 * np.sin(t), 0.5 - 0.3 * np.cos(t)) for t in np.linspace(0, 2 * np.pi, 24)]
SEVEN = [(0.3, 0.25), (0.7, 0.25), (0.5, 0.8)]
STROKES = {"1": ONE, "0": ZERO, "7": SEVEN}


@pytest.mark.parametrize("digit", [*STROKES])
def test_a_digit_that_is_drawn_is_recognised(digit: str, opened: Opened) -> None:
    draw(opened, *STROKES[digit])
    assert answer(opened) == digit
    seen = np.array(opened.page.evaluate(SHOWN, "input")).reshape(28, 28)
    rows, columns = (seen > 0).any(1).nonzero()[0], (seen > 0).any(0).nonzero()[0]
    assert max(np.ptp(rows), np.ptp(columns)) + 1 == 20
    assert f"Predicted: {digit}" in opened.page.text_content("#spoken")


def test_fingers_draw_and_drag_without_scrolling_the_page(best: Path, browser: Any) -> None:
    opened = Opened(browser, best / "playground.html", 360, has_touch=True, is_mobile=True)
    page, device = opened.page, opened.page.context.new_cdp_session(opened.page)

    def touch(kind: str, *fingers: Sequence[float]) -> None:
        points = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(fingers)]
        device.send("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": points})

    def place(selector: str, x: float, y: float) -> tuple[float, float]:
        box = page.locator(selector).bounding_box()
        return box["x"] + x * box["width"], box["y"] + y * box["height"]

    page.locator("#paper").scroll_into_view_if_needed()
    before = page.evaluate("scrollY")
    corners = [np.array(place("#paper", x, y)) for x, y in SEVEN]
    strokes = [np.linspace(start, end, 9) for start, end in pairwise(corners)]
    other = [place("#paper", 0.1, 0.9)]  # a second finger, which draws nothing
    touch("Start", strokes[0][0])
    for number, finger in enumerate(np.concatenate(strokes)):
        touch("Move", finger, *other[: number == 9])
    touch("End")
    assert answer(opened) == "7"
    assert page.evaluate("scrollY") == before
    page.tap("#undo")
    assert page.is_disabled("#undo")  # that was the one stroke
    page.locator("#number-0").scroll_into_view_if_needed()
    opened.settle()
    shown, before = page.evaluate(SHOWN, "edited"), page.evaluate("scrollY")
    own = page.evaluate("[...aeprobe.state.edited]")
    low, high = (float(page.get_attribute("#number-0", end)) for end in ("min", "max"))
    knob = (own[0] - low) / (high - low)
    touch("Start", place("#number-0", knob, 0.5))
    for way in (0.25, 0.5, 0.75, 1):
        touch("Move", place("#number-0", knob + way * (0.9 - knob), 0.5))
    touch("End")
    opened.settle()
    assert abs((page.evaluate("aeprobe.state.edited[0]") - low) / (high - low) - 0.9) < 0.05
    changed = page.evaluate("[...aeprobe.state.edited]")
    assert changed[1:] == own[1:]
    assert page.evaluate(SHOWN, "edited") != shown
    assert page.evaluate("scrollY") == before
    assert opened.failures == []
    page.close()


def test_a_box_is_a_drawing_and_no_frame(opened: Opened) -> None:
    draw(opened, (0.25, 0.1), (0.75, 0.1), (0.75, 0.9), (0.25, 0.9), (0.25, 0.1))
    assert "Your drawing, brought" in opened.page.text_content("#source")
    seen = np.array(opened.page.evaluate(SHOWN, "input")).reshape(28, 28)
    assert (np.ptp((seen > 0).any(1).nonzero()[0]) + 1, (seen[14] > 128).sum() >= 2) == (20, True)


def test_a_picture_comes_back_when_what_is_drawn_over_it_is_taken_back(opened: Opened, tmp_path: Path) -> None:
    Image.fromarray(np.pad(np.zeros((20, 9), np.uint8), 30, constant_values=255)).save(tmp_path / "one.png")
    opened.page.set_input_files("#file", tmp_path / "one.png")
    opened.page.locator("#source", has_text="one.png").wait_for()
    opened.settle()
    paper = opened.page.evaluate(SHOWN_PAPER)
    draw(opened, *SEVEN)
    assert "Your drawing" in opened.page.text_content("#source")
    opened.page.click("#undo")
    opened.settle()
    assert "one.png" in opened.page.text_content("#source")
    assert opened.page.evaluate(SHOWN_PAPER) == paper
    opened.page.click("#clear")
    assert "Test image" in opened.page.text_content("#source")


def test_a_picture_is_opened_and_one_that_is_none_is_named(opened: Opened, tmp_path: Path, best: Path) -> None:
    _, classifier, test = modules(best)
    right = (classifier.predict(test.images[:200])["label"] == test.labels[:200]).nonzero().squeeze(1)
    agreed = 0
    for i in right[:20].tolist():
        pixels = 255 - np.pad(test.images[i, 0].numpy(), 6)
        Image.fromarray(pixels).resize((400, 400)).save(tmp_path / "digit.png")
        opened.page.set_input_files("#file", tmp_path / "digit.png")
        opened.page.locator("#source", has_text="digit.png").wait_for()
        agreed += answer(opened) == str(int(test.labels[i]))
        opened.page.click("#clear")
    assert agreed >= 19
    Image.new("L", (50, 50), 200).save(tmp_path / "empty.png")
    (tmp_path / "none.png").write_bytes(b"no picture")
    for name, said in (("empty.png", ": nothing is drawn"), ("none.png", " is no picture")):
        opened.page.set_input_files("#file", tmp_path / name)
        opened.page.locator("#source", has_text=f"{name}{said}").wait_for()


def test_a_test_image_is_chosen_by_the_keyboard(opened: Opened) -> None:
    labels = opened.page.evaluate("window.aeprobe.data.labels")
    assert labels == sorted([*range(10)] * 10)
    opened.page.focus("#gallery")
    opened.page.keyboard.press("End")
    assert "Test image 100 of 100: 9" in opened.page.text_content("#source")
    opened.page.keyboard.press("ArrowLeft")
    opened.page.keyboard.press("ArrowUp")
    chosen = opened.page.evaluate("window.aeprobe.state.chosen")
    assert 50 < chosen < 98
    selected = opened.page.locator('#gallery [aria-selected="true"]')
    assert selected.get_attribute("id") == f"image-{chosen}"
    assert opened.page.get_attribute("#gallery", "aria-activedescendant") == f"image-{chosen}"
    draw(opened, *SEVEN)
    opened.page.focus("#gallery")
    before = opened.page.evaluate("scrollY")
    opened.page.keyboard.press("Alt+ArrowLeft")
    assert "Your drawing" in opened.page.text_content("#source")
    opened.page.keyboard.press("Space")
    assert f"Test image {chosen + 1} of" in opened.page.text_content("#source")
    assert opened.page.evaluate("scrollY") == before


@torch.no_grad()
def test_a_slider_changes_the_picture_as_the_decoder_does(opened: Opened, best: Path) -> None:
    autoencoder, classifier, _ = modules(best)
    slider = opened.page.locator("#number-6")
    low, high = float(slider.get_attribute("min")), float(slider.get_attribute("max"))
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    opened.page.mouse.click(box["x"] + 0.9 * box["width"], box["y"] + box["height"] / 2)
    opened.settle()
    value = float(slider.input_value())
    assert low + 0.8 * (high - low) < value < high
    edited = torch.tensor([[*opened.page.evaluate("[...window.aeprobe.state.edited]")]])
    own = torch.tensor([[*opened.page.evaluate("[...window.aeprobe.state.code]")]])
    assert (edited != own).nonzero().tolist() == [[0, 6]]
    assert edited[0, 6].item() == pytest.approx(value)
    expected = autoencoder.decoder(edited).flatten() * 255
    assert (torch.tensor(opened.page.evaluate(SHOWN, "edited")) - expected).abs().max() <= 1
    label = int(classifier.head(edited).argmax())
    assert opened.page.text_content("#edited-number").startswith(f"predicted: {label},")
    assert opened.page.input_value("#number") == "6"
    strip = opened.page.locator("#strip canvas")
    assert strip.count() == 9
    slider.focus()
    opened.page.keyboard.press("ArrowRight")
    opened.settle()
    assert float(slider.input_value()) > value
    opened.page.click("#reset")
    opened.settle()
    assert opened.page.evaluate("[...window.aeprobe.state.edited]") == own[0].tolist()


def test_pictures_are_prepared_as_by_predict(opened: Opened, best: Path) -> None:
    chance = np.random.default_rng(0)
    for number, image in enumerate(modules(best)[2].images[: 3 * len(DIGIT_PICTURES), 0].numpy()):
        kind = [*DIGIT_PICTURES][number % len(DIGIT_PICTURES)]
        picture = kind(image, chance)
        pixels = np.asarray(
            ImageOps.contain(picture, (320, 320)).convert("RGB")
        )  # the page reduces in its own way
        text = base64.b64encode(pixels.tobytes()).decode()
        found = np.array(opened.page.evaluate(PREPARED, [text, *pixels.shape[:2]])).reshape(28, 28)
        off = np.abs(found - prepared(pixels).astype(int))
        assert off.max() <= 2, (kind.__name__, number)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_of_other_images_and_an_autoencoder_alone(channels: int, browser: Any, tmp_path: Path) -> None:
    write_pictures(tmp_path / "own", 6)
    chosen = ("data=images", "data.root=own", "data.source.size=16", "data.val_size=3", "autoencoder.batch_size=5")
    chosen += (f"data.source.channels={channels}",)
    stage = ("stage=autoencoder", "network@autoencoder.network=conv", "hydra.run.dir=run")
    done = train(*TINY, *chosen, *stage, cwd=tmp_path)
    assert done.status == 0, done.err
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        page = write_playground(tmp_path / "run")
    opened = Opened(browser, page, 800)
    opened.page.set_input_files("#file", tmp_path / "own" / "red" / "000.png")
    opened.page.locator("#source", has_text="000.png").wait_for()
    opened.settle()
    module = checkpoints.load(tmp_path / "run")
    assert isinstance(module, Autoencoder)
    seen, back = (torch.tensor(opened.page.evaluate(f"[...{what}]")) for what in (SEEN, f"aeprobe.decode({CODE})"))
    own = decoded(tmp_path / "own" / "red" / "000.png", channels, 16, 16).copy()
    assert (seen.view(channels, 16, 16) * 255 - torch.from_numpy(own)).abs().max() <= 2
    expected = module.predict(seen.view(1, channels, 16, 16))["reconstruction"]
    assert (back - expected.flatten()).abs().max() <= 2e-3
    draw(opened, *SEVEN)
    seen = torch.tensor(opened.page.evaluate(f"[...{SEEN}]"))
    ground, ink = seen.median(), seen[seen.sub(seen.median()).abs().argmax()]
    assert (ground < 0.01 and ink > 0.5) or (ground > 0.99 and ink < 0.5), (ground, ink)  # as it was drawn
    assert opened.failures == []
    opened.page.close()


@torch.no_grad()
def test_between_noise_and_compression_show_what_they_say(opened: Opened, best: Path) -> None:
    autoencoder, page = modules(best)[0], opened.page
    images = np.frombuffer(base64.b64decode(page.evaluate("window.aeprobe.data.images")), np.uint8)
    images = as_pixels(torch.from_numpy(images.copy()).view(-1, 1, 28, 28))
    page.locator("#way").fill("0.25")
    opened.settle()
    code = autoencoder.encode(images[[30, 80]])
    expected = autoencoder.decoder(torch.lerp(code[0], code[1], 0.25)[None]).flatten() * 255
    assert (torch.tensor(page.evaluate(SHOWN, "by-code")) - expected).abs().max() <= 1
    expected = torch.lerp(images[30], images[80], 0.25).flatten() * 255
    assert (torch.tensor(page.evaluate(SHOWN, "by-pixels")) - expected).abs().max() <= 0.51
    assert page.get_attribute("#way", "aria-valuetext") == "25 %"
    assert "Between the codes predicted:" in page.text_content("#spoken")
    page.locator("#std").fill("0")
    opened.settle()
    assert page.text_content("#noisy-number") == "MSE 0.0000"
    page.locator("#std").fill("0.5")
    opened.settle()
    assert 0.05 < float(page.text_content("#noisy-number").removeprefix("MSE ")) < 0.25
    page.locator("#bits").fill("2")
    opened.settle()
    train_codes = autoencoder.encode(load_stage(best).images("train").images[::30])
    low, high = train_codes.aminmax(dim=0)
    own = autoencoder.encode(images[20:21])
    cells = ((own - low) / ((high - low) / 4)).floor().clamp(0, 3)
    image = autoencoder.decoder(low + (cells + 0.5) * (high - low) / 4)
    mse = (image - images[20:21]).square().mean().item()
    assert page.text_content("#coarse-number") == f"7.5 bytes, MSE {mse:.4f}"
    assert page.text_content("#spoken") == f"From its code 7.5 bytes, MSE {mse:.4f}"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 800, 1400])
def test_it_can_be_read_at_every_width_and_in_both_schemes(
    width: int, scheme: str, best: Path, browser: Any
) -> None:
    opened = Opened(browser, best / "playground.html", width, color_scheme=scheme)
    opened.settle()
    assert opened.page.evaluate(SHIFTED) < 0.1
    assert opened.outside() == []
    contrasts = opened.page.evaluate(CONTRASTS)
    assert len(contrasts) > 100
    assert [found for found in contrasts if found[0] < 4.5] == []
    assert opened.failures == []
    assert opened.requests == [opened.file.as_uri()]
    assert opened.page.evaluate(NAMELESS) == []
    opened.page.close()


def test_every_control_is_reached_by_the_keyboard(opened: Opened) -> None:
    reached = set()
    while opened.page.keyboard.press("Tab") or opened.page.evaluate(f"{FOCUSED} !== document.body"):
        reached.add(opened.page.evaluate(f"{FOCUSED}.id"))
        style = opened.page.evaluate(OUTLINE)
        assert style == "solid"
    wanted = {"file", "gallery", "number", "first-class", "second-other", "way", "std", "other-noise", "bits"}
    assert wanted | {f"number-{i}" for i in range(30)} <= reached
