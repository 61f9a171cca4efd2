// Where one looks from. A view is {position, target, up, fov, aspect}: `up` is the axis to orbit about, `fov` the
// vertical field of view (radians) of a picture of shape `aspect` (width / height) that stays visible as a whole,
// whatever the window's shape. Views are never changed in place: every function returns a new one.

const SMALLEST_DISTANCE = 0.3, LARGEST_DISTANCE = 500;  // from the target, in the page's units
const POLE_RAD = 0.05;                                   // how near to the orbit's axis the camera may come

const add = (a, b, t = 1) => [a[0] + t * b[0], a[1] + t * b[1], a[2] + t * b[2]];
const subtract = (a, b) => add(a, b, -1);
const scaled = (a, t) => [t * a[0], t * a[1], t * a[2]];
const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
const length = (a) => Math.hypot(...a);
const unit = (a) => scaled(a, 1 / length(a));
const mix = (a, b, t) => a + t * (b - a);
const clamp = (x, low, high) => Math.min(Math.max(x, low), high);

/** `a` turned about the unit vector `axis` (Rodrigues' formula). */
function turned(a, axis, angle) {
  const along = scaled(axis, dot(a, axis)), cos = Math.cos(angle), sin = Math.sin(angle);
  return add(add(along, subtract(a, along), cos), cross(axis, a), sin);
}

/** The unit vector a share `t` of the way from `a` to `b`, both unit, along the shorter arc. */
function between(a, b, t) {
  let axis = cross(a, b);
  const angle = Math.atan2(length(axis), dot(a, b));
  if (length(axis) < 1e-6) {
    if (angle < 1) return b;
    axis = cross(a, Math.abs(a[0]) < 0.9 ? [1, 0, 0] : [0, 1, 0]);  // opposite: any way round
  }
  return turned(a, unit(axis), t * angle);
}

/** The camera's axes in the world, as OpenCV has them. */
function cameraAxes({ position, target, up }) {
  const forward = unit(subtract(target, position));
  const right = unit(cross(forward, up));
  return { right, down: cross(forward, right), forward };
}

/** Focal length in pixels at which the whole of the view's picture fits into a window. */
function focalPixels(view, width, height) {
  return (0.5 * Math.min(height, width / view.aspect)) / Math.tan(view.fov / 2);
}

function fromPage({ position, target, up, fov_y_rad, aspect }) {
  return { position, target, up: unit(up), fov: fov_y_rad, aspect };
}

/** Around the target: `yaw` about the axis, `pitch` (positive looks from higher) short of its poles; radians. */
function orbited(view, yaw, pitch) {
  const offset = subtract(view.position, view.target);
  const polar = Math.acos(clamp(dot(unit(offset), view.up), -1, 1));
  const wanted = clamp(polar - pitch, POLE_RAD, Math.PI - POLE_RAD);
  const lifted = turned(offset, cameraAxes(view).right, wanted - polar);
  return { ...view, position: add(view.target, turned(lifted, view.up, yaw)) };
}

/** Moves camera and target together, by shares of their distance: to the right, down and forward. */
function moved(view, right, down, forward) {
  const axes = cameraAxes(view);
  const along = add(add(scaled(axes.right, right), axes.down, down), axes.forward, forward);
  const step = scaled(along, length(subtract(view.target, view.position)));
  return { ...view, position: add(view.position, step), target: add(view.target, step) };
}

/** The content follows a drag of (dx, dy) pixels at the target's depth. */
function panned(view, dx, dy, width, height) {
  const focal = focalPixels(view, width, height);
  return moved(view, -dx / focal, -dy / focal, 0);
}

/** Distance to the target times `factor`. */
function zoomed(view, factor) {
  const offset = subtract(view.position, view.target);
  const distance = clamp(length(offset) * factor, SMALLEST_DISTANCE, LARGEST_DISTANCE);
  return { ...view, position: add(view.target, offset, distance / length(offset)) };
}

/** A share `t` of the way from one view to another, on an arc about what both look at. */
function flown(from, to, t) {
  const ease = t * t * (3 - 2 * t);
  const start = subtract(from.position, from.target), end = subtract(to.position, to.target);
  const target = add(scaled(from.target, 1 - ease), to.target, ease);
  const direction = between(unit(start), unit(end), ease);
  const distance = length(start) ** (1 - ease) * length(end) ** ease;
  return {
    position: add(target, direction, distance),
    target,
    up: between(from.up, to.up, ease),
    fov: mix(from.fov, to.fov, ease),
    aspect: mix(from.aspect, to.aspect, ease),
  };
}

