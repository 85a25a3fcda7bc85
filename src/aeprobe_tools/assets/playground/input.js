// Where the image comes from: a drawing, a test image, or a picture that is opened, pasted or dropped.

let asked = 0; // how often an image was asked for: a picture that is read slowly must not replace a later one
let opened = null; // the picture from elsewhere that is on the paper, and its name

// Takes pixels, which are prepared as the training images were.
function takeFrom(pixels, name, { drawn = false, unfinished = false } = {}) {
  asked++;
  mark(-1);
  try {
    take(prepared(pixels, drawn), `${name}, brought to the form of the training images`, unfinished);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    write("source", `${name}: nothing is drawn on it. What you see is still the image before.`);
  }
}
function takeOpened() {
  takeFrom(pixelsOf(opened.picture), opened.name);
}

const drawing = new Drawing(at("paper"), unfinished => {
  offer();
  if (drawing.strokes.length) takeFrom(drawing.image, "Your drawing", { drawn: true, unfinished });
  else if (drawing.picture) takeOpened();
  else choose(state.chosen);
});
function offer() {
  const any = drawing.strokes.length > 0, empty = !any && !drawing.picture;
  enable("undo", any, "gallery");
  enable("clear", !empty, "gallery");
  at("invitation").hidden = !empty;
}
at("undo").addEventListener("click", () => drawing.undo());
at("clear").addEventListener("click", () => choose(state.chosen));

function choose(index) {
  asked++;
  state.chosen = index;
  drawing.clear();
  offer();
  mark(index);
  const label = data.labels[index];
  take(images[index], `Test image ${index + 1} of ${images.length}${label < 0 ? "" : `: ${nameOf(label)}`}`);
}

async function open(file) {
  const name = file.name || "Your picture", number = ++asked;
  let picture;
  try {
    picture = await createImageBitmap(file);
  } catch {
    write("source", `${name} is no picture that this browser can read`);
    return;
  }
  if (number !== asked) return;
  if (picture.width * picture.height > MOST_PIXELS) {
    write("source", `${name} has more than ${MOST_PIXELS.toLocaleString("en")} pixels: give a smaller one`);
    return;
  }
  opened = { picture, name };
  drawing.clear(picture);
  offer();
  takeOpened();
}
at("file").addEventListener("change", event => {
  if (event.target.files.length) open(event.target.files[0]);
  event.target.value = ""; // so that the same file can be opened again
});
addEventListener("paste", event => {
  const files = [...event.clipboardData.files], file = files.find(one => one.type.startsWith("image/")) ?? files[0];
  if (file) open(file);
});
addEventListener("dragover", event => event.preventDefault());
addEventListener("drop", event => {
  event.preventDefault();
  if (event.dataTransfer.files.length) open(event.dataTransfer.files[0]);
});

const gallery = at("gallery");
const tiles = images.map((pixels, i) => {
  const label = data.labels[i];
  const tile = element(gallery, "canvas", { id: `image-${i}`, role: "option", title: label < 0 ? "" : nameOf(label) });
  tile.setAttribute("aria-label", `${i + 1}: ${label < 0 ? "test image" : nameOf(label)}`);
  tile.addEventListener("click", () => choose(i));
  paint(tile, pixels);
  return tile;
});
function mark(index) {
  tiles.forEach((tile, i) => tile.setAttribute("aria-selected", i === index));
  if (index >= 0) gallery.setAttribute("aria-activedescendant", `image-${index}`);
}
gallery.addEventListener("keydown", event => {
  const row = tiles.filter(tile => tile.offsetTop === tiles[0].offsetTop).length;
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -row, ArrowDown: row, Home: -tiles.length, End: tiles.length,
    Enter: 0, " ": 0 };
  if (!(event.key in steps) || event.altKey || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  choose(Math.min(Math.max(state.chosen + steps[event.key], 0), tiles.length - 1));
});
