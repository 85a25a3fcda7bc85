// Trained networks: each layer becomes a function from a Float32Array to a new one.
// An image of several channels is one row of numbers, channel after channel, as in torch.

function bytesOf(text) {
  const characters = atob(text), bytes = new Uint8Array(characters.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = characters.charCodeAt(i);
  return bytes;
}

function floatsOf(text) {
  const bytes = new DataView(bytesOf(text).buffer);
  return Float32Array.from({ length: bytes.byteLength / 4 }, (_, i) => bytes.getFloat32(4 * i, true));
}

// All 65,536 floats of 16 bits (IEEE 754): a sign, 5 bits of exponent, 10 of fraction.
const HALVES = Float32Array.from({ length: 65536 }, (_, bits) => {
  const exponent = (bits >> 10) & 31, fraction = bits & 1023;
  const size = exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * (fraction / 1024);
  return bits & 32768 ? -size : size;
});

function halvesOf(text) {
  const bytes = bytesOf(text), values = new Float32Array(bytes.length / 2);
  for (let i = 0; i < values.length; i++) values[i] = HALVES[bytes[2 * i] | (bytes[2 * i + 1] << 8)];
  return values;
}

// Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26: off by less than 2e-7.
function erf(x) {
  const t = 1 / (1 + 0.3275911 * Math.abs(x));
  const series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  return Math.sign(x) * (1 - series * Math.exp(-x * x));
}

const each = f => () => x => x.map(f);
const softplus = x => (x > 20 ? x : Math.log1p(Math.exp(x)));
const LAYERS = {
  linear(layer) {
    const weight = halvesOf(layer.weight), bias = floatsOf(layer.bias);
    return x => {
      const y = bias.slice();
      for (let output = 0, k = 0; output < y.length; output++) {
        let sum = 0;
        for (let input = 0; input < x.length; input++, k++) sum += weight[k] * x[input];
        y[output] += sum;
      }
      return y;
    };
  },

  convolution: layer => convolution(layer, layer.to, layer.from, false),
  transposedConvolution: layer => convolution(layer, layer.from, layer.to, true),

  affine(layer) {
    const scale = floatsOf(layer.scale), shift = floatsOf(layer.shift);
    return x => x.map((value, i) => {
      const channel = Math.floor(i * scale.length / x.length);
      return value * scale[channel] + shift[channel];
    });
  },

  ReLU: each(x => Math.max(x, 0)),
  SiLU: each(x => x / (1 + Math.exp(-x))),
  Mish: each(x => x * Math.tanh(softplus(x))),
  Tanh: each(Math.tanh),
  Sigmoid: each(x => 1 / (1 + Math.exp(-x))),
  SELU: each(x => 1.0507009873554805 * (x > 0 ? x : 1.6732632423543772 * Math.expm1(x))),
  ELU: ({ alpha }) => x => x.map(value => (value > 0 ? value : alpha * Math.expm1(value))),
  LeakyReLU: ({ negative_slope: slope }) => x => x.map(value => (value > 0 ? value : slope * value)),
  GELU: ({ approximate }) => x => x.map(approximate === "tanh"
    ? value => 0.5 * value * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (value + 0.044715 * value ** 3)))
    : value => 0.5 * value * (1 + erf(value / Math.SQRT2))),
};

// Both convolutions join a place of the small image with a window of the large one; the transposed one goes back.
function convolution(layer, small, large, back) {
  const weight = halvesOf(layer.weight), bias = floatsOf(layer.bias);
  const [channels, height, width] = small, [others, tall, wide] = large;
  const [rows, columns] = layer.kernel, area = tall * wide;
  return x => {
    const y = new Float32Array(back ? others * area : channels * height * width);
    for (let i = 0; i < y.length; i++) y[i] = bias[Math.floor(i * bias.length / y.length)];
    for (let c = 0, place = 0; c < channels; c++) {
      for (let row = 0; row < height; row++) {
        const top = row * layer.stride[0] - layer.padding[0];
        for (let column = 0; column < width; column++, place++) {
          const left = column * layer.stride[1] - layer.padding[1];
          for (let other = 0, k = c * others * rows * columns; other < others; other++) {
            for (let r = top; r < top + rows; r++) {
              for (let q = left; q < left + columns; q++, k++) {
                if (r < 0 || r >= tall || q < 0 || q >= wide) continue;
                const pixel = other * area + r * wide + q;
                if (back) y[pixel] += weight[k] * x[place];
                else y[place] += weight[k] * x[pixel];
              }
            }
          }
        }
      }
    }
    return y;
  };
}

function networkOf(layers) {
  const steps = layers.map(layer => LAYERS[layer.kind](layer));
  return x => steps.reduce((values, step) => step(values), x);
}

function softmax(logits) {
  const most = logits.reduce((a, b) => Math.max(a, b)), powers = logits.map(x => Math.exp(x - most));
  const sum = powers.reduce((a, b) => a + b);
  return powers.map(x => x / sum);
}
