// Images: rows of numbers from 0, black, to 1, channel after channel, and the canvases that show them.

function paint(canvas, pixels) {
  const [channels, height, width] = data.shape, area = height * width;
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const image = new ImageData(width, height);
  for (let i = 0; i < area; i++) {
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = 255 * pixels[channels === 3 ? c * area + i : i];
    image.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

function meanSquaredError(a, b) {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] - b[i]) ** 2;
  return sum / a.length;
}

const onDark = () => {
  const [, height, width] = data.shape;
  return quantile(images.map(pixels => ringMedian(grey(height, width, (_, i) => pixels[i]))), 0.5) < 0.5;
};

const mixed = (a, b, share) => a.map((value, i) => (1 - share) * value + share * b[i]);

// Independent normal numbers of standard deviation 1 (Box and Muller, 1958).
const normal = count => Float32Array.from({ length: count }, () =>
  Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random()));

const withNoise = (pixels, noise, std) => pixels.map((value, i) => Math.min(Math.max(value + std * noise[i], 0), 1));

// Each number as the middle of its cell: its range is cut into 2 ** bits of them.
const quantized = (code, bits) => code.map((value, i) => {
  const cells = 2 ** bits, width = (high[i] - low[i]) / cells;
  const cell = width ? Math.min(Math.max(Math.floor((value - low[i]) / width), 0), cells - 1) : 0;
  return low[i] + (cell + 0.5) * width;
});

// A picture from elsewhere as pixels on white; of a large one, a smaller copy.
const MOST_PIXELS = 2 ** 26, MOST_SIDE = 1024;

function pixelsOf(picture) {
  const scale = Math.min(1, MOST_SIDE / Math.max(picture.width, picture.height));
  const [width, height] = [picture.width, picture.height].map(side => Math.max(1, Math.round(side * scale)));
  const context = Object.assign(document.createElement("canvas"), { width, height }).getContext("2d");
  Object.assign(context, { fillStyle: "#fff", imageSmoothingQuality: "high" });
  context.fillRect(0, 0, width, height);
  context.drawImage(picture, 0, 0, width, height);
  return context.getImageData(0, 0, width, height);
}

// Pixels, RGBA, as an image of the networks' shape: for MNIST as its makers would have had it, for others what covers
// the image. A drawing has no frame; for images on a dark ground it is in light ink. Throws a RangeError where MNIST's
// makers would have found nothing drawn.
function prepared({ width, height, data: rgba }, drawn = false) {
  const [channels, tall, wide] = data.shape;
  const colours = channels === 3 || data.digits, weights = colours ? [[1, 0, 0], [0, 1, 0], [0, 0, 1]] : [[0.299, 0.587, 0.114]];
  const parts = weights.map(([red, green, blue]) => grey(height, width, (_, i) =>
    Math.round(red * rgba[4 * i] + green * rgba[4 * i + 1] + blue * rgba[4 * i + 2]) / 255));
  if (data.digits) return preparedGrey(greyOf(parts), tall, !drawn);
  if (drawn && onDark()) parts.forEach(part => part.values.forEach((value, i) => { part.values[i] = 1 - value; }));
  const scale = Math.min(height / tall, width / wide), rows = Math.round(tall * scale), columns = Math.round(wide * scale);
  const top = (height - rows) >> 1, left = (width - columns) >> 1;
  return Float32Array.from(parts.flatMap(part =>
    [...resized(cut(part, top, top + rows, left, left + columns), tall, wide).values]));
}
