// The page: what is shown is computed anew, once a frame at most, from one image and one code.

const at = id => document.getElementById(id);
const data = JSON.parse(at("data").textContent);
const low = floatsOf(data.low), high = floatsOf(data.high);
const encode = networkOf(data.encoder), decode = networkOf(data.decoder);
const head = data.head && networkOf(data.head);
const classify = code => softmax(head(code));
const numbers = data.shape.reduce((a, b) => a * b);
const bytes = bytesOf(data.images);
const images = data.labels.map((_, i) => Float32Array.from(bytes.subarray(i * numbers, (i + 1) * numbers), b => b / 255));
const nameOf = label => data.names[label] ?? "an image";
const counted = (count, thing) => `${count.toLocaleString("en")} ${thing}${count === 1 ? "" : "s"}`;
const percent = share => `${(100 * share).toFixed(1)} %`;
const state = { pixels: images[0], code: null, edited: null, chosen: 0, noise: normal(numbers) };

// Tasks for the next frame, each once, and those that can wait until nothing has been asked for a while.
const waiting = new Set(), resting = new Set(), PAUSE = 150; // milliseconds
let pause = 0;
function soon(...tasks) {
  if (!waiting.size) requestAnimationFrame(() => emptied(waiting).forEach(task => task()));
  tasks.forEach(task => waiting.add(task));
}
function later(...tasks) {
  clearTimeout(pause);
  tasks.forEach(task => resting.add(task));
  pause = setTimeout(() => soon(...emptied(resting)), PAUSE);
}
function emptied(tasks) {
  const all = [...tasks];
  tasks.clear();
  return all;
}

function element(parent, tag, properties = {}) {
  return parent.appendChild(Object.assign(document.createElement(tag), properties));
}
function write(id, words) { // what is there already is not read aloud again
  if (at(id).textContent !== String(words)) at(id).textContent = words;
}
function show(id, pixels, words = "") {
  paint(at(id), pixels);
  write(`${id}-number`, words);
}
// Switches a button on or off; the keyboard goes on to another element if it was there.
function enable(id, on, next) {
  const left = !on && document.activeElement === at(id);
  at(id).disabled = !on;
  if (left) at(next).focus({ preventScroll: true });
}
const mseWords = (a, b) => `MSE ${meanSquaredError(a, b).toFixed(4)}`;

// Takes another image; while it is still being drawn, the sections below wait.
function take(pixels, source, drawing = false) {
  Object.assign(state, { pixels, code: encode(pixels) });
  state.edited = state.code.slice();
  write("source", source);
  soon(showInput);
  if (drawing) later(showCode, showStrip, showBetween, showNoise, showCompression, speak);
  else {
    soon(showCode, showStrip, showBetween, showNoise, showCompression);
    later(speak);
  }
}

// The answer: all classes in their order, or of many the ten most probable ones.
const FEW = 12, MOST = 10;
const bars = head && Array.from({ length: data.names.length <= FEW ? data.names.length : MOST }, () => {
  const row = element(at("bars"), "li");
  const name = element(row, "span", { className: "name" });
  const track = element(row, "span", { className: "bar" });
  return { row, name, fill: element(track, "span"), share: element(row, "span", { className: "share" }) };
});
function best(shares) {
  return shares.indexOf(shares.reduce((a, b) => Math.max(a, b)));
}
function showInput() {
  const reconstruction = decode(state.code);
  show("input", state.pixels);
  show("output", reconstruction, mseWords(state.pixels, reconstruction));
  if (head) showAnswer(classify(state.code));
}
function showAnswer(shares) {
  const order = [...shares.keys()], answer = best(shares);
  if (shares.length > FEW) order.sort((a, b) => shares[b] - shares[a]);
  bars.forEach(({ row, name, fill, share }, i) => {
    const label = order[i];
    name.textContent = name.title = nameOf(label);
    fill.style.transform = `scaleX(${shares[label]})`;
    share.textContent = percent(shares[label]);
    row.classList.toggle("most", label === answer);
  });
  write("answer", nameOf(answer));
  at("answer").classList.toggle("long", nameOf(answer).length > 3);
  write("worth", worth(answer));
}
function worth(answer) {
  if (!data.answers?.[answer]) return "";
  const [all, wrong, other, most] = data.answers[answer], count = n => n.toLocaleString("en");
  if (!all) return `No test image was predicted as ${nameOf(answer)}.`;
  const often = most ? `, most often ${nameOf(other)} (${count(most)})` : "";
  return `Of ${counted(all, "test image")} predicted as ${nameOf(answer)}, ${count(wrong)} ${wrong === 1 ? "is" : "are"} `
    + `of another class${often}.`;
}
function speak() {
  if (!head) return;
  const shares = classify(state.edited), answer = best(shares);
  write("spoken", `Predicted: ${nameOf(answer)}, ${percent(shares[answer])}`);
}
function sayOf(...ids) {
  return () => write("spoken", ids.map(id => at(`${id}-caption`).textContent.trim().replace(/\s+/g, " ")).join("; "));
}
