// A canvas to draw on with mouse, finger or pen. What is drawn is kept as strokes, so that one can be taken back.

const INK = 0.075; // the width of a stroke, as a share of the paper
const SIDE = 112; // of the copy that the networks are shown

class Drawing {
  constructor(canvas, changed) {
    this.canvas = canvas;
    this.changed = changed; // called with whether a stroke is still being drawn
    this.strokes = []; // each a list of points, from 0 to 1
    this.copy = Object.assign(document.createElement("canvas"), { width: SIDE, height: SIDE });
    this.copy.getContext("2d", { willReadFrequently: true });
    this.pointer = null;
    this.picture = null; // from elsewhere, shown while nothing is drawn
    this.scheme = matchMedia("(prefers-color-scheme: dark)");
    this.scheme.addEventListener("change", () => this.redraw());
    canvas.addEventListener("pointerdown", event => this.begin(event));
    canvas.addEventListener("pointermove", event => this.move(event));
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, event => this.end(event));
    this.redraw();
  }

  begin(event) {
    if (event.button || this.pointer !== null) return;
    event.preventDefault();
    this.pointer = event.pointerId;
    this.canvas.setPointerCapture(event.pointerId);
    this.strokes.push([]);
    if (this.strokes.length === 1) this.redraw(); // without a picture that may be there
    this.add([event]);
  }

  move(event) {
    if (event.pointerId !== this.pointer) return;
    const all = event.getCoalescedEvents?.() ?? [];
    this.add(all.length ? all : [event]);
  }

  end(event) {
    if (event.pointerId !== this.pointer) return;
    this.pointer = null;
    this.changed(false);
  }

  add(events) {
    const stroke = this.strokes.at(-1), box = this.canvas.getBoundingClientRect();
    for (const event of events) {
      const point = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
      this.line(stroke.at(-1) ?? point, point);
      stroke.push(point);
    }
    this.changed(true);
  }

  undo() {
    this.pointer = null;
    this.strokes.pop();
    this.redraw();
    this.changed(false);
  }

  // Empties the paper; with a picture, shows it there.
  clear(picture = null) {
    Object.assign(this, { pointer: null, picture, strokes: [] });
    this.redraw();
  }

  redraw() {
    const dark = this.scheme.matches;
    this.colours = [[this.canvas, dark ? "#f2f6fa" : "#1a2530", dark ? "#0a0f14" : "#fff"], [this.copy, "#000", "#fff"]];
    for (const [canvas, , paper] of this.colours) {
      const context = canvas.getContext("2d");
      context.fillStyle = paper;
      context.fillRect(0, 0, canvas.width, canvas.height);
    }
    if (this.picture && !this.strokes.length) this.show(this.picture);
    for (const stroke of this.strokes) stroke.forEach((point, i) => this.line(stroke[Math.max(i - 1, 0)], point));
  }

  show(picture) {
    const { width } = this.canvas, scale = width / Math.max(picture.width, picture.height);
    const [wide, tall] = [picture.width * scale, picture.height * scale];
    this.canvas.getContext("2d").drawImage(picture, (width - wide) / 2, (width - tall) / 2, wide, tall);
  }

  line(from, to) {
    for (const [canvas, ink] of this.colours) {
      const context = canvas.getContext("2d"), side = canvas.width;
      Object.assign(context, { strokeStyle: ink, lineWidth: INK * side, lineCap: "round" });
      context.beginPath();
      context.moveTo(from[0] * side, from[1] * side);
      context.lineTo(to[0] * side + 0.01, to[1] * side); // a line without any length would leave no dot
      context.stroke();
    }
  }

  get image() {
    return this.copy.getContext("2d").getImageData(0, 0, SIDE, SIDE);
  }
}
