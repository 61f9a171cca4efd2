// Mouse, touch and keys. `steer(change)` is called with a function from the present view to the next one, and
// `center(x, y)` with the place of a double click.

const ORBIT_RAD_PER_WINDOW = 3.2;  // a drag across the window's shorter side
const ZOOM_PER_PIXEL = 0.0012;     // of the wheel; a mouse's notch has 100 or so
const TURN_RAD_PER_SECOND = 1.2, MOVE_PER_SECOND = 0.6, ZOOM_PER_SECOND = 1.2;  // while a key is held

function listenToPointers(canvas, steer, center) {
  const fingers = new Map();  // id of each pointer that is down: its last place
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("dblclick", (event) => center(event.clientX, event.clientY));
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    canvas.focus({ preventScroll: true });
    fingers.set(event.pointerId, place(event));
  });
  for (const end of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(end, (event) => fingers.delete(event.pointerId));
  }
  canvas.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (!before) return;
    const now = place(event);
    fingers.set(event.pointerId, now);
    const [dx, dy] = [now.x - before.x, now.y - before.y];
    const { clientWidth: width, clientHeight: height } = canvas;
    if (fingers.size === 2) {
      const other = [...fingers].find(([id]) => id !== event.pointerId)[1];
      const factor = apart(before, other) / Math.max(apart(now, other), 1);
      // Each finger moves the picture half as far: both together, as far as they go.
      steer((view) => zoomed(panned(view, dx / 2, dy / 2, width, height), factor));
    } else if (fingers.size === 1 && (event.buttons > 1 || event.shiftKey)) {
      steer((view) => panned(view, dx, dy, width, height));
    } else if (fingers.size === 1) {
      const angle = ORBIT_RAD_PER_WINDOW / Math.min(width, height);
      steer((view) => orbited(view, -dx * angle, dy * angle));
    }
  });
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();  // or the page zooms when a trackpad is pinched
    const pixels = event.deltaY * (event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 33 : 1);
    const speed = event.ctrlKey ? 8 : 1;  // a pinch comes as small steps
    steer((view) => zoomed(view, Math.exp(ZOOM_PER_PIXEL * speed * clamp(pixels, -300, 300))));
  }, { passive: false });
}

const place = (event) => ({ x: event.clientX, y: event.clientY });
const apart = (a, b) => Math.hypot(a.x - b.x, a.y - b.y);

// Held keys: how the view changes in `t` seconds.
const HELD = {
  ArrowLeft: (view, t) => orbited(view, -TURN_RAD_PER_SECOND * t, 0),
  ArrowRight: (view, t) => orbited(view, TURN_RAD_PER_SECOND * t, 0),
  ArrowUp: (view, t) => orbited(view, 0, TURN_RAD_PER_SECOND * t),
  ArrowDown: (view, t) => orbited(view, 0, -TURN_RAD_PER_SECOND * t),
  w: (view, t) => moved(view, 0, 0, MOVE_PER_SECOND * t),
  s: (view, t) => moved(view, 0, 0, -MOVE_PER_SECOND * t),
  a: (view, t) => moved(view, -MOVE_PER_SECOND * t, 0, 0),
  d: (view, t) => moved(view, MOVE_PER_SECOND * t, 0, 0),
  e: (view, t) => moved(view, 0, -MOVE_PER_SECOND * t, 0),
  q: (view, t) => moved(view, 0, MOVE_PER_SECOND * t, 0),
  "+": (view, t) => zoomed(view, Math.exp(-ZOOM_PER_SECOND * t)),
  "-": (view, t) => zoomed(view, Math.exp(ZOOM_PER_SECOND * t)),
};

/**
 * Listens to keys. `pressed` has what a single key does; `wake()` is called when a held key needs frames. Returns a
 * function of (view, seconds) that gives the view that the held keys lead to, or null when none is held.
 */
function listenToKeys(pressed, wake) {
  const held = new Map();  // by place on the keyboard: Shift may change the name between press and release
  window.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const key = event.key.length === 1 ? event.key.toLowerCase().replace("=", "+") : event.key;
    if (HELD[key]) {
      held.set(event.code, HELD[key]);
      wake();
    } else if (pressed[key] && !event.repeat) {
      pressed[key]();
    } else {
      return;
    }
    event.preventDefault();
  });
  window.addEventListener("keyup", (event) => held.delete(event.code));
  window.addEventListener("blur", () => held.clear());
  return (view, seconds) => {
    if (held.size === 0) return null;
    return [...held.values()].reduce((moving, change) => change(moving, seconds), view);
  };
}

