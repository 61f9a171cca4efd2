// The page: unpack, then draw whenever something changed.

const FLIGHT_MS = 900;
const REST_MS = 200;                    // without motion, until the picture is drawn at full resolution
const SHARES = [1, 0.75, 0.55, 0.4];    // of the resolution, while something moves
const SLOW_MS = 45, FAST_MS = 20;       // a frame's time at which fewer or more pixels are taken
const ENOUGH_FAST = 20;                 // frames in a row, before more pixels are tried
const PICK_PIXELS = 6, PICK_OPACITY = 128;  // opacity of 255
const MAX_PIXEL_RATIO = 2;              // a phone's third has a cost that nobody sees

const NO_WEBGL = "This page needs WebGL 2, which this browser does not offer. Open it in a current Chrome, Edge, "
  + "Firefox or Safari, with hardware acceleration switched on.";
const TOO_OLD = "This browser is too old for this page. Open it in Chrome 80, Firefox 113, Safari 16.4 or newer.";
const HELP_MOUSE = "Drag: orbit. Right button or Shift: move. Wheel: zoom. Double click: centre. "
  + "Arrows, WASD, Q, E, +, \u2212 move too.";
const HELP_PHOTOS = " N, P: photos.";
const HELP_TOUCH = "One finger: orbit. Two: move and zoom. Double tap: centre.";

const element = (id) => document.getElementById(id);

/** What is on the page, and the loop that draws it. */
class Page {
  constructor(gl, scene, { start, photos, background }) {
    this.canvas = gl.canvas;
    this.scene = scene;
    this.start = fromPage(start);
    this.photos = photos.map(fromPage);
    this.names = photos.map((photo) => photo.name);
    this.view = this.start;
    this.startPhoto = photos.findIndex((photo) => photo.name === start.name);
    this.photo = this.startPhoto;  // -1 when the view is no photo's
    this.background = background.map((value) => value / 255);
    this.flight = null;        // {from, to, since}
    this.share = 0;            // index into SHARES
    this.fastFrames = 0;       // in a row
    this.movedAt = -Infinity;  // milliseconds, as performance.now()
    this.lastFrame = null;     // the time of the frame before, if it too was drawn in motion
    this.stamp = 0;            // counts views; the sorter answers with the one it sorted for
    this.sorted = { view: -1, asked: -1 };
    this.renderer = new Renderer(gl, scene);
    this.sorter = startSorter(scene.means, (answer) => this.takeOrder(answer));
    this.keys = listenToKeys(this.shortcuts(), () => this.requestFrame());
    listenToPointers(this.canvas, (change) => this.steer(change), (x, y) => this.center(x, y));
    new ResizeObserver(() => this.requestFrame()).observe(this.canvas);
    this.canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
    this.canvas.addEventListener("webglcontextrestored", () => this.restore(gl));
    this.panel();
    this.requestFrame();
  }

  /** Moves by hand: ends a flight. */
  steer(change) {
    this.flight = null;
    this.show(change(this.view));
    this.photo = -1;
    this.label();
    element("help").hidden = true;  // whoever moves knows how; the button brings it back
  }

  show(view) {
    this.view = view;
    this.stamp++;
    this.movedAt = performance.now();
    this.requestFrame();
  }

  flyTo(view, photo) {
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.flight = { from: this.view, to: view, since: performance.now() - (calm ? FLIGHT_MS : 0) };
    this.photo = photo;
    this.label();
    this.requestFrame();
  }

  /** The photo `step` places after the one flown to last, else the one nearest to the camera. */
  flyToPhoto(step) {
    const n = this.photos.length;
    if (n === 0) return;
    const distances = this.photos.map((photo) => length(subtract(photo.position, this.view.position)));
    const to = this.photo >= 0 ? (this.photo + step + n) % n : distances.indexOf(Math.min(...distances));
    this.flyTo(this.photos[to], to);
  }

  /** Turns towards what is at a place in the window, which becomes what one orbits about. */
  center(x, y) {
    const point = this.pick(x, y);
    if (point) this.flyTo({ ...this.view, target: point }, -1);
  }

  /** The nearest mean of a rather opaque Gaussian within a few pixels of that place; null if there is none. */
  pick(x, y) {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const { means, shapes, count } = this.scene;
    const { right, down, forward } = cameraAxes(this.view);
    const focal = focalPixels(this.view, width, height);
    let found = null, nearest = Infinity;
    for (let i = 0; i < count; i++) {
      if (shapes[8 * i + 3] >>> 24 < PICK_OPACITY) continue;
      const point = means.subarray(3 * i, 3 * i + 3);
      const fromEye = subtract(point, this.view.position);
      const depth = dot(fromEye, forward);
      if (depth < SMALLEST_DISTANCE || depth > nearest) continue;
      const u = (focal * dot(fromEye, right)) / depth + width / 2, v = (focal * dot(fromEye, down)) / depth + height / 2;
      if (Math.hypot(u - x, v - y) < PICK_PIXELS) [found, nearest] = [[...point], depth];
    }
    return found;
  }

  reset() {
    this.flyTo(this.start, this.startPhoto);
  }

  requestFrame() {
    delete document.body.dataset.settled;
    this.frame ??= requestAnimationFrame((now) => {
      this.frame = null;
      this.drawFrame(now);
    });
  }

  drawFrame(now) {
    if (this.flight) {
      const { from, to, since } = this.flight;
      const t = clamp((now - since) / FLIGHT_MS, 0, 1);
      if (t === 1) this.flight = null;
      this.show(t === 1 ? to : flown(from, to, t));
    }
    const steered = this.keys(this.view, this.lastFrame === null ? 1 / 60 : Math.min((now - this.lastFrame) / 1000, 0.25));
    if (steered) this.steer(() => steered);
    this.askForOrder();
    const moving = performance.now() - this.movedAt < REST_MS;
    this.resize(moving, now);
    if (this.sorted.view >= 0) this.renderer.draw(this.view, this.background);
    this.lastFrame = moving ? now : null;
    if (moving) this.requestFrame();
    else if (this.sorted.view === this.stamp) document.body.dataset.settled = "yes";
  }

  /** As many pixels as the window has; fewer while it moves, if frames take long. */
  resize(moving, now) {
    if (moving && this.lastFrame !== null) {
      const took = now - this.lastFrame;
      this.fastFrames = took < FAST_MS ? this.fastFrames + 1 : 0;
      if (took > SLOW_MS && this.share < SHARES.length - 1) this.share++;
      if (this.fastFrames === ENOUGH_FAST && this.share > 0) [this.share, this.fastFrames] = [this.share - 1, 0];
    }
    const ratio = Math.min(devicePixelRatio, MAX_PIXEL_RATIO) * (moving ? SHARES[this.share] : 1);
    const width = Math.max(1, Math.round(this.canvas.clientWidth * ratio));
    const height = Math.max(1, Math.round(this.canvas.clientHeight * ratio));
    if (this.canvas.width !== width) this.canvas.width = width;
    if (this.canvas.height !== height) this.canvas.height = height;
  }

  /** One view at a time is sorted; the newest follows when the answer is there. */
  askForOrder() {
    const { sorted } = this;
    if (sorted.asked > sorted.view || sorted.view === this.stamp) return;
    sorted.asked = this.stamp;
    const message = { forward: cameraAxes(this.view).forward, eye: this.view.position, stamp: this.stamp };
    this.sorter.postMessage({ ...message, spare: this.spare }, this.spare ? [this.spare.buffer] : []);
    this.spare = undefined;
  }

  takeOrder({ order, visible, stamp }) {
    this.sorted.view = stamp;
    this.renderer.setOrder(order, visible);
    this.spare = order;
    element("message").hidden = true;
    this.requestFrame();
  }

  /** Phones take the graphics away from a page in the background. */
  restore(gl) {
    this.renderer = new Renderer(gl, this.scene);
    this.sorted.view = this.sorted.asked = -1;
    this.requestFrame();
  }

  label() {
    const n = this.photos.length;
    element("number").textContent = `${this.photo >= 0 ? this.photo + 1 : "\u2013"} / ${n}`;
    element("name").textContent = this.names[this.photo] ?? "";
  }

  shortcuts() {
    return {
      n: () => this.flyToPhoto(1),
      p: () => this.flyToPhoto(-1),
      r: () => this.reset(),
      f: () => toggleFullScreen(),
      h: () => toggleHelp(),
      "?": () => toggleHelp(),
    };
  }

  panel() {
    element("photos").hidden = this.photos.length === 0;
    element("next").onclick = () => this.flyToPhoto(1);
    element("previous").onclick = () => this.flyToPhoto(-1);
    element("reset").onclick = () => this.reset();
    element("fullscreen").hidden = !document.fullscreenEnabled;
    element("fullscreen").onclick = toggleFullScreen;
    const mouse = HELP_MOUSE + (this.photos.length > 0 ? HELP_PHOTOS : "");
    element("help").textContent = matchMedia("(pointer: coarse)").matches ? HELP_TOUCH : mouse;
    element("help-button").onclick = toggleHelp;
    const well = element("background");
    well.value = `#${this.background.map((value) => Math.round(255 * value).toString(16).padStart(2, "0")).join("")}`;
    well.oninput = () => {
      this.background = [1, 3, 5].map((at) => parseInt(well.value.slice(at, at + 2), 16) / 255);
      this.requestFrame();
    };
    this.label();
    element("panel").hidden = false;
  }
}

function toggleFullScreen() {
  if (document.fullscreenElement) document.exitFullscreen();
  else if (document.fullscreenEnabled) document.documentElement.requestFullscreen();
}

function toggleHelp() {
  element("help").hidden = !element("help").hidden;
}

/** The sorting worker, made of text in the page: a page from disk may not load another file. */
function startSorter(means, answered) {
  const source = URL.createObjectURL(new Blob([element("sorter").textContent], { type: "text/javascript" }));
  const worker = new Worker(source);
  worker.onmessage = ({ data }) => answered(data);
  worker.postMessage({ means });
  return worker;
}

async function open() {
  const gl = element("canvas").getContext("webgl2", { alpha: false, antialias: false, powerPreference: "high-performance" });
  if (!gl) throw new Error(NO_WEBGL);
  if (!("DecompressionStream" in window)) throw new Error(TOO_OLD);
  const page = JSON.parse(element("scene").textContent);
  const payload = element("payload");
  const bytes = await payloadBytes(payload.textContent);
  payload.remove();  // the text is as large as all the rest
  const scene = { ...unpack(bytes, page.splats), logSigma: page.splats.logSigma, colorRange: page.splats.color };
  new Page(gl, scene, page);
}

open().catch((error) => {
  element("message").textContent = error.message;
  element("message").hidden = false;
});
