// A digit among what else is on its picture: the same as `aeprobe predict` does in use/strokes.py, which says why.
// Change both. A mask is {height, width, values}, values 0 or 1; a piece is the box of pixels that touch each other.

const STROKES = [0.15, 0.25, 0.4], LEAST = 0.15, FULL = 0.8, LINED = 40;

function masked({ height, width, values }, marks) {
  const marked = new Uint8Array(values.length);
  for (let i = 0; i < marked.length; i++) marked[i] = marks(values[i], i);
  return { height, width, values: marked };
}

const inked = (ink, share) => {
  const least = share * strongest(ink.values);
  return masked(ink, value => value > least);
};
const only = (ink, marks) => ({ ...ink, values: ink.values.map((value, i) => (marks(i) ? value : 0)) });
const anyMarked = mask => mask.values.includes(1);
const transposed = ({ height, width, values }) => ({ height: width, width: height,
  values: values.map((_, i) => values[(i % height) * width + Math.floor(i / height)]) });

function digitAlone(ink, faint) {
  for (const share of STROKES) {
    const mask = inked(ink, share);
    if (!anyMarked(divided(mask)[1])) return nearTo(mask, ink);
  }
  let digit;
  for (let turn = 0; turn < 4; turn++) {
    const [kept, gone] = divided(inked(ink, STROKES[1])), away = grown(gone, 2), close = grown(kept, 1);
    digit = kept;
    const rest = only(ink, i => !away.values[i] || close.values[i]);
    if (!anyMarked(gone) || largest(rest.values) < faint) break;
    ink = rest;
  }
  return nearTo(digit, ink);
}

function nearTo(mask, ink) {
  const near = grown(mask, span(Math.floor(Math.max(mask.height, mask.width) / 28), 1, 3));
  return only(ink, i => near.values[i]);
}

// The digit, and what is none of it.
function divided(mask) {
  let { labels, pieces } = piecesOf(mask), foreign = atTheEdge(pieces, mask);
  const strokes = foreign.length ? mask : withoutLines(mask);
  if (strokes.values.some((value, i) => value !== mask.values[i])) {
    ({ labels, pieces } = piecesOf(strokes));
    foreign = atTheEdge(pieces, mask);
  }
  if (!foreign.length) foreign = besideOthers(pieces, Math.max(mask.height, mask.width));
  if (!foreign.length) foreign = scattered(pieces);
  const kept = new Set(pieces.map((_, i) => i + 1).filter(label => !foreign.includes(label - 1)));
  const digit = masked(mask, (_, i) => kept.has(labels[i]));
  return [digit, masked(mask, (value, i) => value && !digit.values[i])];
}

function withoutLines(mask) {
  const across = linesOf(mask), down = transposed(linesOf(transposed(mask)));
  return masked(mask, (value, i) => value && !across.values[i] && !down.values[i]);
}

// Lines along the rows, but where a longer column of stroke goes through them.
function linesOf(mask) {
  const { height, width, values } = mask, found = masked(mask, () => 0), full = [];
  for (let row = 0; row < height; row++) {
    if (values.subarray(row * width, (row + 1) * width).reduce((a, b) => a + b, 0) / width >= FULL) full.push(row);
  }
  if (height < LINED || !full.length || full.length >= height / 2) return found;
  const thick = new Int32Array(values.length);
  for (let column = 0; column < width; column++) {
    for (let row = 0; row < height; row++) {
      let end = row;
      while (end < height && values[end * width + column]) end++;
      for (let k = row; k < end; k++) thick[k * width + column] = end - row;
      row = end;
    }
  }
  for (let i = 0; i < full.length;) {
    let next = i + 1;
    while (full[next] === full[next - 1] + 1) next++;
    const count = next - i, last = Math.min(full[next - 1] + 1, height - 1);
    if (count <= Math.max(3, Math.floor(height / 20))) {
      for (let k = Math.max(full[i] - 1, 0) * width; k < (last + 1) * width; k++) {
        if (thick[k] <= count + 2) found.values[k] = 1;
      }
    }
    i = next;
  }
  return found;
}

function piecesOf({ height, width, values }) {
  const labels = new Int32Array(values.length), pieces = [];
  values.forEach((value, first) => {
    if (!value || labels[first]) return;
    const piece = { top: height, bottom: 0, left: width, right: 0, area: 0 }, waiting = [first];
    pieces.push(piece);
    labels[first] = pieces.length;
    while (waiting.length) {
      const place = waiting.pop(), row = Math.floor(place / width), column = place % width;
      piece.area++;
      Object.assign(piece, { top: Math.min(piece.top, row), bottom: Math.max(piece.bottom, row + 1),
        left: Math.min(piece.left, column), right: Math.max(piece.right, column + 1) });
      for (let r = Math.max(row - 1, 0); r <= Math.min(row + 1, height - 1); r++) {
        for (let c = Math.max(column - 1, 0); c <= Math.min(column + 1, width - 1); c++) {
          if (!values[r * width + c] || labels[r * width + c]) continue;
          labels[r * width + c] = pieces.length;
          waiting.push(r * width + c);
        }
      }
    }
  });
  for (const piece of pieces) {
    Object.assign(piece, { height: piece.bottom - piece.top, width: piece.right - piece.left });
    piece.size = Math.max(piece.height, piece.width);
  }
  return { labels, pieces };
}

const placesOf = (pieces, strange) => [...pieces.keys()].filter(i => strange(pieces[i]));
const box = pieces => ({ top: Math.min(...pieces.map(p => p.top)), bottom: Math.max(...pieces.map(p => p.bottom)),
  left: Math.min(...pieces.map(p => p.left)), right: Math.max(...pieces.map(p => p.right)) });

function atTheEdge(pieces, { height, width }) {
  const inside = p => p.top > 0 && p.left > 0 && p.bottom < height && p.right < width;
  const large = pieces.some(p => inside(p) && p.size >= LEAST * Math.max(height, width));
  return large ? placesOf(pieces, p => !inside(p)) : [];
}

function besideOthers(pieces, side) {
  const large = pieces.filter(p => p.size >= LEAST * side);
  return placesOf(pieces, p => large.includes(p) && isBeside(p, large.filter(other => other !== p), side));
}

function isBeside(p, others, side) {
  if (!others.length) return false;
  const { top, bottom, left, right } = box(others);
  const within = q => p.top <= q.top && q.bottom <= p.bottom && p.left <= q.left && q.right <= p.right;
  if (p.area < 0.12 * p.height * p.width && others.some(within)) return true;
  if (p.width >= 6 * p.height) {
    return p.top >= bottom - 2 || (p.width > 1.3 * (right - left) && p.bottom <= top + 2);
  }
  const away = Math.max(left - p.right, p.left - right) >= 0.05 * side;
  return away && p.height >= Math.max(8 * p.width, 1.15 * (bottom - top), 0.6 * side);
}

function scattered(pieces) {
  if (pieces.length < 2) return [];
  const larger = (a, b) => b.size > a.size || (b.size === a.size && b.area > a.area);
  const main = pieces.reduce((a, b) => (larger(a, b) ? b : a)), near = [main], far = pieces.filter(p => p !== main);
  const gap = (p, q) => Math.max(p.left - q.right, q.left - p.right, p.top - q.bottom, q.top - p.bottom, 0);
  for (let found = 0; found >= 0;) {
    const { top, bottom, left, right } = box(near), size = Math.max(bottom - top, right - left);
    found = far.findIndex(p =>
      Math.min(...near.map(q => gap(p, q))) <= (p.size >= 0.25 * main.size ? 0.25 : 0.08) * size);
    if (found >= 0) near.push(...far.splice(found, 1));
  }
  return placesOf(pieces, p => far.includes(p));
}

// The marked pixels and their neighbours, up to so many rows and columns away.
function grown(mask, reach) {
  const { height, width, values } = mask, out = masked(mask, () => 0);
  values.forEach((value, i) => {
    if (!value) return;
    const row = Math.floor(i / width), column = i % width, last = Math.min(column + reach, width - 1);
    for (let r = Math.max(row - reach, 0); r <= Math.min(row + reach, height - 1); r++) {
      out.values.fill(1, r * width + Math.max(column - reach, 0), r * width + last + 1);
    }
  });
  return out;
}
