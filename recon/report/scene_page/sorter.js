// Runs in a worker: the Gaussians in front of a camera, farthest first. The page sends the means once and then a
// view a message; each is answered with the order, and the buffer of an order no longer needed comes back with a view.

"use strict";

const NEAR = 0.1;  // as in splat.vert
let means, ids, swapped;
let keys;

onmessage = ({ data }) => {
  if (data.means) {
    means = data.means;
    const count = means.length / 3;
    [ids, swapped, keys] = [new Uint32Array(count), new Uint32Array(count), new Uint32Array(count)];
    return;
  }
  const visible = sortByDepth(data.forward, data.eye);
  const order = data.spare ?? new Uint32Array(2048 * Math.ceil(ids.length / 2048));  // whole rows of texels
  order.set(ids.subarray(0, visible));
  postMessage({ order, visible, stamp: data.stamp }, [order.buffer]);
};

/** Leaves the visible Gaussians in `ids`, farthest first; returns their number. Two passes of a counting sort. */
function sortByDepth(forward, eye) {
  const depths = new Float32Array(keys.buffer);
  const low = new Uint32Array(65537), high = new Uint32Array(65537);
  const [fx, fy, fz] = forward;
  const shift = fx * eye[0] + fy * eye[1] + fz * eye[2];
  let visible = 0;
  for (let i = 0; i < ids.length; i++) {
    const depth = fx * means[3 * i] + fy * means[3 * i + 1] + fz * means[3 * i + 2] - shift;
    if (depth < NEAR) continue;
    // Positive floats are ordered as their bits are; the complement puts the far ones first.
    depths[i] = depth;
    const key = (keys[i] = ~keys[i]);
    low[(key & 65535) + 1]++;
    high[(key >>> 16) + 1]++;
    swapped[visible++] = i;
  }
  for (let digit = 0; digit < 65536; digit++) {
    low[digit + 1] += low[digit];
    high[digit + 1] += high[digit];
  }
  for (let n = 0; n < visible; n++) ids[low[keys[swapped[n]] & 65535]++] = swapped[n];
  for (let n = 0; n < visible; n++) swapped[high[keys[ids[n]] >>> 16]++] = ids[n];
  [ids, swapped] = [swapped, ids];
  return visible;
}
