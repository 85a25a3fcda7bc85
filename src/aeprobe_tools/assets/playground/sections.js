// The sections below the drawing: the code, between two images, noise, and compression.

// The code: each number with as many decimals as its range needs.
const places = high.map((value, i) => Math.min(Math.max(1 - Math.floor(Math.log10(value - low[i] || 1)), 1), 4));
const short = (value, i) => (Number(value.toFixed(places[i])) || 0).toFixed(places[i]).replace("-", "−");
const sliders = [...low.keys()].map(i => {
  const row = element(at("numbers"), "div", { className: "slider" });
  element(row, "label", { htmlFor: `number-${i}`, textContent: i + 1 });
  const input = element(row, "input", { type: "range", id: `number-${i}`, min: low[i], max: high[i], step: "any" });
  input.disabled = low[i] === high[i];
  input.setAttribute("aria-label", `Number ${i + 1}`);
  const words = element(row, "span", { className: "value" });
  words.setAttribute("aria-hidden", "true"); // the slider itself says it
  input.addEventListener("input", () => {
    state.edited[i] = input.valueAsNumber;
    const other = select.value !== String(i);
    select.value = i;
    soon(showCode, ...(other ? [showStrip] : [markStrip]));
    later(speak);
  });
  return { input, words, value: NaN };
});
const select = at("number");
sliders.forEach((_, i) => element(select, "option", { value: i, textContent: i + 1 }));
select.value = best(high.map((value, i) => value - low[i])); // what varies most
select.addEventListener("change", () => soon(showStrip));
at("reset").addEventListener("click", () => {
  state.edited = state.code.slice();
  soon(showCode, showStrip);
  later(speak);
});

function showCode() {
  const shares = head && classify(state.edited), answer = head && best(shares);
  show("edited", decode(state.edited), head ? `predicted: ${nameOf(answer)}, ${percent(shares[answer])}` : "");
  sliders.forEach((slider, i) => {
    const value = state.edited[i], { input, words } = slider, ends = [shareOf(0, i), shareOf(value, i)];
    if (slider.value === value) return;
    slider.value = value;
    if (input.valueAsNumber !== value) input.value = value;
    input.style.setProperty("--from", `${100 * Math.min(...ends)}%`);
    input.style.setProperty("--to", `${100 * Math.max(...ends)}%`);
    words.textContent = short(value, i);
    input.setAttribute("aria-valuetext", short(value, i));
  });
  enable("reset", state.edited.some((value, i) => value !== state.code[i]), "number-0");
}
function shareOf(value, i) {
  return Math.min(Math.max((value - low[i]) / (high[i] - low[i] || 1), 0), 1);
}

const STEPS = 9;
function tileRow(parent, count) {
  return Array.from({ length: count }, () => {
    const tile = element(parent, "figure");
    return { tile, canvas: element(tile, "canvas"), words: element(tile, "figcaption") };
  });
}
const strip = tileRow(at("strip"), STEPS);
function showStrip() {
  const i = Number(select.value), code = state.edited.slice();
  strip.forEach(({ canvas, words }, step) => {
    code[i] = low[i] + (high[i] - low[i]) * step / (STEPS - 1);
    paint(canvas, decode(code));
    words.textContent = short(code[i], i);
  });
  markStrip();
}
function markStrip() {
  const i = Number(select.value), here = Math.round(shareOf(state.edited[i], i) * (STEPS - 1));
  strip.forEach(({ tile }, step) => tile.classList.toggle("here", step === here));
}

// Between two.
const byClass = new Map();
data.labels.forEach((label, i) => byClass.set(label, [...(byClass.get(label) ?? []), i]));
const ends = ["first", "second"].map((end, side) => {
  const list = at(`${end}-class`), first = Math.floor(images.length * (side ? 0.8 : 0.3));
  const found = { canvas: at(end), index: first, pixels: images[first], code: null };
  for (const label of byClass.keys()) element(list, "option", { value: label, textContent: nameOf(label) });
  element(list, "option", { value: "own", textContent: "the image above" });
  list.value = data.labels[first];
  list.addEventListener("change", () => {
    found.index = list.value === "own" ? -1 : byClass.get(Number(list.value))[0];
    at(`${end}-other`).disabled = found.index < 0;
    soon(showBetween);
  });
  at(`${end}-other`).addEventListener("click", () => {
    const those = byClass.get(data.labels[found.index]);
    found.index = those[(those.indexOf(found.index) + 1) % those.length];
    soon(showBetween);
  });
  return found;
});
function showBetween() {
  for (const end of ends) {
    end.pixels = end.index < 0 ? state.pixels : images[end.index];
    end.code = encode(end.pixels);
    paint(end.canvas, end.pixels);
  }
  showWay();
}
function showWay() {
  const way = at("way").valueAsNumber, [a, b] = ends;
  write("way-value", `${Math.round(100 * way)} %`);
  at("way").setAttribute("aria-valuetext", at("way-value").textContent);
  const code = mixed(a.code, b.code, way), pixels = mixed(a.pixels, b.pixels, way);
  const words = of => (head ? `predicted: ${nameOf(best(classify(of)))}` : "");
  show("by-code", decode(code), words(code));
  show("by-pixels", pixels, words(encode(pixels)));
}
const sayWay = sayOf("by-code", "by-pixels");
at("way").addEventListener("input", () => {
  soon(showWay);
  later(sayWay);
});

// Noise.
function showNoise() {
  const std = at("std").valueAsNumber, noisy = withNoise(state.pixels, state.noise, std);
  const code = encode(noisy), cleaned = decode(code);
  const taken = head ? `, predicted: ${nameOf(best(classify(code)))}` : "";
  write("std-value", std.toFixed(2));
  show("noisy", noisy, mseWords(noisy, state.pixels));
  show("cleaned", cleaned, mseWords(cleaned, state.pixels) + taken);
}
const sayNoise = sayOf("noisy", "cleaned");
function changeNoise() {
  soon(showNoise);
  later(sayNoise);
}
at("std").addEventListener("input", changeNoise);
at("other-noise").addEventListener("click", () => {
  state.noise = normal(numbers);
  changeNoise();
});

// Compression.
const BITS = [8, 7, 6, 5, 4, 3, 2];
const rates = tileRow(at("rates"), BITS.length);
const sizeOf = bits => bits * low.length / 8;
function showCompression() {
  BITS.forEach((bits, i) => {
    const pixels = decode(quantized(state.code, bits));
    paint(rates[i].canvas, pixels);
    rates[i].words.textContent = "";
    for (const line of [`${bits} bits`, counted(sizeOf(bits), "byte"), mseWords(pixels, state.pixels)]) {
      element(rates[i].words, "span", { textContent: line });
    }
  });
  showRate();
}
function showRate() {
  const bits = at("bits").valueAsNumber, pixels = decode(quantized(state.code, bits)), size = sizeOf(bits);
  write("bits-value", bits);
  show("original", state.pixels, counted(numbers, "byte"));
  show("coarse", pixels, `${counted(size, "byte")}, ${mseWords(pixels, state.pixels)}`);
  const times = Math.round(numbers / size).toLocaleString("en");
  write("rate", `${counted(low.length, "number")} of ${bits} bits: ${counted(size, "byte")}, ${times} times `
    + `fewer than the image has. With exact numbers: ${mseWords(decode(state.code), state.pixels)}.`);
  rates.forEach(({ tile }, i) => tile.classList.toggle("here", BITS[i] === bits));
}
const sayRate = sayOf("coarse");
at("bits").addEventListener("input", () => {
  soon(showRate);
  later(sayRate);
});

choose(Math.floor(images.length * 0.2));
window.aeprobe = { encode, decode, classify: head && classify, prepared, state, data }; // for the console, and for tests
