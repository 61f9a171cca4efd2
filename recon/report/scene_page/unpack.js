// From the text in the page to textures: undoes encoding.py, which says what the planes are.

const SHAPE_TEXELS = 2;
const SH_COUNT = [0, 3, 8, 15];  // coefficients a channel beyond the zeroth, by degree
const TEXTURE_WIDTH = 2048;      // every WebGL 2 has this much

/** The payload's bytes: base64 text, gzipped. */
async function payloadBytes(text) {
  const letters = atob(text);
  const packed = new Uint8Array(letters.length);
  for (let i = 0; i < packed.length; i++) packed[i] = letters.charCodeAt(i);
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/**
 * Decodes all Gaussians.
 *
 * Returns `means` (Float32Array, x y z each), and the contents of two textures of TEXTURE_WIDTH RGBA32UI texels a row,
 * as splat.vert reads them: `shapes` and `harmonics` (null for degree 0).
 */
function unpack(bytes, { count, chunk, degree }) {
  const boxes = new Float32Array(bytes.buffer, 0, 6 * Math.ceil(count / chunk));
  let at = boxes.byteLength;
  const plane = () => bytes.subarray(at, (at += count));
  const planes = (n) => Array.from({ length: n }, plane);

  const means = unpackMeans(planes(6), boxes, count, chunk);
  const shapes = texels(count, SHAPE_TEXELS);
  const meanWords = new Uint32Array(means.buffer);
  const [sigma0, sigma1, sigma2] = planes(3);
  const [small0, small1, small2, high] = planes(4);
  const [green, red, blue, opacity] = planes(4);
  for (let i = 0; i < count; i++) {
    const g = green[i], h = high[i];
    shapes[8 * i] = meanWords[3 * i];
    shapes[8 * i + 1] = meanWords[3 * i + 1];
    shapes[8 * i + 2] = meanWords[3 * i + 2];
    shapes[8 * i + 3] = ((red[i] + g) & 255) | (g << 8) | (((blue[i] + g) & 255) << 16) | (opacity[i] << 24);
    shapes[8 * i + 4] = small0[i] | ((h & 4) << 6) | (small1[i] << 9) | ((h & 8) << 14) | (small2[i] << 18)
      | ((h & 16) << 22) | ((h & 3) << 27);
    shapes[8 * i + 5] = sigma0[i] | (sigma1[i] << 8) | (sigma2[i] << 16);
  }
  return { count, degree, means, shapes, harmonics: degree > 0 ? unpackHarmonics(planes, count, degree) : null };
}

function unpackMeans([xLow, xHigh, yLow, yHigh, zLow, zHigh], boxes, count, chunk) {
  const means = new Float32Array(3 * count);
  for (let i = 0; i < count; i++) {
    const box = 6 * Math.floor(i / chunk);
    means[3 * i] = boxes[box] + (boxes[box + 3] * (xLow[i] | (xHigh[i] << 8))) / 4095;
    means[3 * i + 1] = boxes[box + 1] + (boxes[box + 4] * (yLow[i] | (yHigh[i] << 8))) / 4095;
    means[3 * i + 2] = boxes[box + 2] + (boxes[box + 5] * (zLow[i] | (zHigh[i] << 8))) / 4095;
  }
  return means;
}

/** One word a coefficient, its three bytes with 128 as zero. */
function unpackHarmonics(planes, count, degree) {
  const words = 4 * harmonicTexels(degree);
  const harmonics = texels(count, harmonicTexels(degree));
  for (let k = 0; k < SH_COUNT[degree]; k++) {
    const [green, red, blue] = planes(3);
    for (let i = 0; i < count; i++) {
      const g = green[i] + 128;
      harmonics[words * i + k] = ((red[i] + g) & 255) | ((g & 255) << 8) | (((blue[i] + g) & 255) << 16);
    }
  }
  return harmonics;
}

function harmonicTexels(degree) {
  return Math.ceil(SH_COUNT[degree] / 4);
}

/** Room for `each` texels a Gaussian, in whole rows. */
function texels(count, each) {
  return new Uint32Array(4 * TEXTURE_WIDTH * Math.ceil((count * each) / TEXTURE_WIDTH));
}

