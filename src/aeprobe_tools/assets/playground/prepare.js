// A drawn or photographed digit as MNIST's makers would have had it: the same as `aeprobe predict` does in
// aeprobe_tools/use/preparation.py, which says why. Change both. A grey picture is {height, width, values}, values in [0, 1].

const LARGEST = 320, FAINT = 0.05, NOTHING = 0.025, ALMOST = 0.999, FRAME = 0.85, LEVEL = 14, THIN = 1.6;

function grey(height, width, value) {
  const values = new Float32Array(height * width);
  for (let i = 0; i < values.length; i++) values[i] = value(undefined, i);
  return { height, width, values };
}

const largest = values => values.reduce((a, b) => Math.max(a, b), -Infinity);
const span = (value, least, most) => Math.min(Math.max(value, least), most);

function quantile(values, share) {
  const sorted = Float32Array.from(values).sort(), place = share * (sorted.length - 1), before = Math.floor(place);
  return sorted[before] + (place - before) * (sorted[Math.min(before + 1, sorted.length - 1)] - sorted[before]);
}

// Halves go to the even number, as in Python.
function rounded(value) {
  const near = Math.round(value);
  return near - value === 0.5 && near % 2 ? near - 1 : near;
}

function cut({ width, values }, top, bottom, left, right) {
  const wide = Math.max(right - left, 0);
  return grey(Math.max(bottom - top, 0), wide, (_, i) => values[(top + Math.floor(i / wide)) * width + left + i % wide]);
}

// The outermost pixels: upper, lower, left and right.
function ring({ height, width, values }) {
  const rows = [...Array(height).keys()];
  return [values.slice(0, width), values.slice((height - 1) * width),
    rows.map(row => values[row * width]), rows.map(row => values[row * width + width - 1])];
}

const ringMedian = picture => quantile(ring(picture).flatMap(part => [...part]), 0.5);

function preparedGrey(picture, side, framed) {
  let ink = inkOf(framed ? withoutFrame(reduced(picture)) : picture);
  ink = cut(ink, ...boxOf(ink));
  const box = rounded(side * 20 / 28), scale = box / Math.max(ink.height, ink.width);
  ink = widened(ink, scale);
  if (Math.max(ink.height, ink.width) !== box) {
    ink = resized(ink, Math.max(1, rounded(ink.height * scale)), Math.max(1, rounded(ink.width * scale)));
  }
  const strong = strongest(ink.values);
  ink.values = ink.values.map(value => span(value / strong, 0, 1));
  return placed(ink, side);
}

// Colours on the direction in which they differ most, from three pictures of red, green and blue.
function greyOf(parts) {
  const middle = parts.map(({ values }) => quantile(values, 0.5));
  const differs = parts.map(({ values }, c) => values.map(value => value - middle[c]));
  const spread = differs.map(a => differs.map(b => a.reduce((sum, value, i) => sum + value * b[i], 0)));
  let axis = [1, 1, 1];
  for (let turn = 0; turn < 20; turn++) {
    axis = spread.map((row, c) => row.reduce((sum, value, k) => sum + value * axis[k], 1e-6 * axis[c]));
    const length = Math.hypot(...axis);
    axis = axis.map(value => value / length);
  }
  const { height, width } = parts[0];
  return grey(height, width, (_, i) => parts.reduce((sum, { values }, c) => sum + axis[c] * values[i], 0) / Math.sqrt(3));
}

function reduced(picture) {
  const { height, width } = picture, scale = LARGEST / Math.max(height, width);
  if (scale >= 1) return picture;
  return resized(picture, Math.max(1, rounded(height * scale)), Math.max(1, rounded(width * scale)));
}

// By a triangle that is as wide as a pixel of the result, or of the picture where that is larger, as Pillow has it.
function resized({ height, width, values }, tall, wide) {
  const across = weightsOf(width, wide), down = weightsOf(height, tall), middle = new Float32Array(height * wide);
  for (let row = 0; row < height; row++) {
    across.forEach(({ first, weights }, column) => {
      middle[row * wide + column] = weights.reduce((sum, weight, k) => sum + weight * values[row * width + first + k], 0);
    });
  }
  return grey(tall, wide, (_, i) => {
    const { first, weights } = down[Math.floor(i / wide)];
    return weights.reduce((sum, weight, k) => sum + weight * middle[(first + k) * wide + i % wide], 0);
  });
}

function weightsOf(before, after) {
  const scale = before / after, reach = Math.max(scale, 1);
  return Array.from({ length: after }, (_, i) => {
    const centre = (i + 0.5) * scale, first = Math.max(Math.floor(centre - reach + 0.5), 0);
    const count = Math.min(Math.floor(centre + reach + 0.5), before) - first;
    const weights = Array.from({ length: count }, (_, k) => Math.max(1 - Math.abs(first + k - centre + 0.5) / reach, 0));
    const sum = weights.reduce((a, b) => a + b);
    return { first, weights: weights.map(weight => weight / sum) };
  });
}

// What is within a frame, or on a sheet that lies on another ground.
function withoutFrame(picture) {
  for (let layer = 0; layer < 8; layer++) {
    const { height, width } = picture, ground = ringMedian(picture);
    const differs = picture.values.map(value => Math.abs(value - ground)), most = largest(differs);
    if (most < FAINT) break;
    const other = share => ({ height, width, values: differs.map(value => (value > most / share ? 1 : 0)) });
    const found = insideOf(picture, other(4)) ?? insideOf(picture, other(8));
    if (!found) break;
    picture = found;
  }
  return picture;
}

// What a closed frame of other pixels surrounds, if it is most of the picture.
function insideOf(picture, other) {
  const [top, bottom, left, right] = endsOf(other, 0), inner = cut(other, top, bottom, left, right);
  const large = 2 * inner.height >= picture.height && 2 * inner.width >= picture.width;
  const blurred = cut(inner, 1, inner.height - 1, 1, inner.width - 1);
  if (!large || Math.max(leastOfRing(inner), leastOfRing(blurred)) < FRAME) return null;
  const edge = 1 + Math.floor(Math.min(inner.height, inner.width) / 50);
  const found = cut(picture, top + edge, bottom - edge, left + edge, right - edge);
  return Math.min(found.height, found.width) < 8 ? null : found;
}

function leastOfRing(marked) {
  if (Math.min(marked.height, marked.width) <= 2) return 0;
  return Math.min(...ring(marked).map(part => part.reduce((a, b) => a + b) / part.length));
}

// How much of the digit's ink there is on each pixel, less what the ground's light and roughness are.
function inkOf(picture) {
  const ground = groundOf(picture), differs = picture.values.map((value, i) => value - ground[i]);
  const rough = 4 * quantile(differs.map(Math.abs), 0.5);
  const both = [1, -1].map(sign => ({ ...picture, values: differs.map(value => Math.max(sign * value - rough, 0)) }));
  const digits = both.filter(ink => largest(ink.values) >= NOTHING).map(ink => digitAlone(ink, NOTHING));
  const total = ink => ink.values.reduce((sum, value) => sum + value * value, 0);
  const ink = digits.reduce((a, b) => (a && total(a) >= total(b) ? a : b), null);
  if (!ink || largest(ink.values) < NOTHING) throw new RangeError("Nothing is drawn on it");
  const strong = strongest(ink.values), full = ink.values.map(value => Math.min(value / strong, 1));
  return { ...ink, values: full.map(value => (value < FAINT ? 0 : value)) };
}

// The plane that the ground's brightness is: fitted to all that is near it, ever nearer.
function groundOf(picture) {
  const { height, width, values } = picture, step = 1 + Math.floor(Math.max(height, width) / 32);
  const spread = count => i => (count > 1 ? -1 + 2 * i / (count - 1) : -1);
  const tall = Math.ceil(height / step), wide = Math.ceil(width / step), some = [];
  for (let row = 0; row < tall; row++) {
    for (let column = 0; column < wide; column++) {
      some.push([1, spread(tall)(row), spread(wide)(column), values[row * step * width + column * step]]);
    }
  }
  let plane = [ringMedian(picture), 0, 0];
  const brightness = (down, across) => plane[0] + plane[1] * down + plane[2] * across;
  for (const part of [2, 4, 8, 16]) {
    const far = some.map(([, down, across, value]) => Math.abs(value - brightness(down, across)));
    const limit = Math.max(largest(far) / part, FAINT), near = some.filter((_, i) => far[i] <= limit);
    if (near.length < 3) break;
    const sum = (a, b) => near.reduce((total, terms) => total + terms[a] * terms[b], a === b ? 1e-3 : 0);
    plane = solved([0, 1, 2].map(a => [0, 1, 2, 3].map(b => sum(a, b))));
  }
  const down = spread(height), across = spread(width);
  return values.map((_, i) => brightness(down(Math.floor(i / width)), across(i % width)));
}

// Three equations in three unknowns, positive definite, by elimination.
function solved(rows) {
  for (let i = 0; i < 3; i++) {
    rows[i] = rows[i].map(value => value / rows[i][i]);
    rows = rows.map((row, j) => (j === i ? row : row.map((value, k) => value - row[i] * rows[i][k])));
  }
  return rows.map(row => row[3]);
}

// The value of full ink: nearly the largest.
function strongest(ink) {
  const half = largest(ink) / 2;
  return quantile(ink.filter(value => value > half), 0.9);
}

const boxOf = ink => endsOf(ink, FAINT);

// Top, bottom, left and right of the lines that have more than a share of the fullest one, or a pixel.
function endsOf({ height, width, values }, share) {
  const rows = new Float32Array(height), columns = new Float32Array(width);
  values.forEach((value, i) => {
    rows[Math.floor(i / width)] += value;
    columns[i % width] += value;
  });
  return [rows, columns].flatMap(total => {
    const least = Math.min(share * largest(total), ALMOST), full = value => value > least;
    return [total.findIndex(full), total.findLastIndex(full) + 1];
  });
}

// The strokes of a thin pen as wide as the thinnest of MNIST's.
function widened(ink, scale) {
  const { height, width, values } = ink, drawn = (row, column) =>
    row >= 0 && row < height && column >= 0 && column < width && values[row * width + column] > 0.5;
  let area = 0, edge = 0;
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      if (!drawn(row, column)) continue;
      area++;
      const inner = drawn(row - 1, column) && drawn(row + 1, column) && drawn(row, column - 1) && drawn(row, column + 1);
      if (!inner) edge++;
    }
  }
  const wide = 2 * area / Math.max(edge, 1) * scale, more = rounded((THIN - wide) / scale / 2);
  if (wide >= THIN || more < 1) return ink;
  const padded = grey(height + 2 * more, width + 2 * more, () => 0), around = padded.width;
  values.forEach((value, i) => {
    if (!value) return;
    for (let row = 0; row <= 2 * more; row++) {
      for (let column = 0; column <= 2 * more; column++) {
        const place = (Math.floor(i / width) + row) * around + i % width + column;
        padded.values[place] = Math.max(padded.values[place], value);
      }
    }
  });
  return padded;
}

// On black, with the centre of mass in the middle, as far as that keeps all of it.
function placed(ink, side) {
  const { height, width, values } = cut(ink, 0, Math.min(ink.height, side), 0, Math.min(ink.width, side));
  let mass = 0, down = 0, across = 0;
  values.forEach((value, i) => {
    mass += value;
    down += value * Math.floor(i / width);
    across += value * (i % width);
  });
  const place = (moment, count) => span(rounded(side * LEVEL / 28 - moment / mass), 0, side - count);
  const top = place(down, height), left = place(across, width), image = new Float32Array(side * side);
  values.forEach((value, i) => {
    image[(top + Math.floor(i / width)) * side + left + i % width] = rounded(255 * value) / 255;
  });
  return image;
}
