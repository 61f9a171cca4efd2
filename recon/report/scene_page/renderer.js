// WebGL 2: quads, farthest first, blended with premultiplied alpha.

const BATCH = 128;  // quads an instance: with one each, graphics hardware (and its imitations) spends more on instances

/** Draws `scene` (see unpack.js, with `logSigma` and `colorRange`) on a WebGL 2 context. Throws if that is impossible. */
class Renderer {
  constructor(gl, scene) {
    this.gl = gl;
    this.visible = 0;
    const program = linkProgram(gl, scene.degree);
    gl.useProgram(program);
    this.uniforms = {};
    for (const name of ["camFromWorld", "eye", "size", "focal", "logSigma", "colorRange", "order", "visible", "shapes", "harmonics"]) {
      this.uniforms[name] = gl.getUniformLocation(program, name);
    }
    gl.uniform2fv(this.uniforms.logSigma, scene.logSigma);
    gl.uniform2fv(this.uniforms.colorRange, scene.colorRange);
    ["order", "shapes", "harmonics"].forEach((name, unit) => gl.uniform1i(this.uniforms[name], unit));
    createTexture(gl, 1, gl.RGBA32UI, scene.shapes.length / 4 / TEXTURE_WIDTH);
    fillTexture(gl, gl.RGBA_INTEGER, scene.shapes);
    if (scene.harmonics) {
      createTexture(gl, 2, gl.RGBA32UI, scene.harmonics.length / 4 / TEXTURE_WIDTH);
      fillTexture(gl, gl.RGBA_INTEGER, scene.harmonics);
    }
    createTexture(gl, 0, gl.R32UI, Math.ceil(scene.count / TEXTURE_WIDTH));  // stays the active one
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
    const corners = Array.from({ length: BATCH }, (_, quad) => [0, 1, 2, 2, 1, 3].map((corner) => 4 * quad + corner));
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, new Uint16Array(corners.flat()), gl.STATIC_DRAW);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
  }

  /** The Gaussians to draw, farthest first: the first `visible` of `order`, whose length fills rows of texels. */
  setOrder(order, visible) {
    this.visible = visible;
    fillTexture(this.gl, this.gl.RED_INTEGER, order.subarray(0, TEXTURE_WIDTH * Math.ceil(visible / TEXTURE_WIDTH)));
  }

  /** Fills the canvas. `background` is three numbers from 0 to 1. */
  draw(view, background) {
    const { gl, uniforms } = this;
    const { width, height } = gl.canvas;
    gl.viewport(0, 0, width, height);
    gl.clearColor(...background, 1);
    gl.clear(gl.COLOR_BUFFER_BIT);
    const { right, down, forward } = cameraAxes(view);
    gl.uniformMatrix3fv(uniforms.camFromWorld, true, [...right, ...down, ...forward]);
    gl.uniform3fv(uniforms.eye, view.position);
    gl.uniform2f(uniforms.size, width, height);
    gl.uniform1f(uniforms.focal, focalPixels(view, width, height));
    gl.uniform1i(uniforms.visible, this.visible);
    gl.drawElementsInstanced(gl.TRIANGLES, 6 * BATCH, gl.UNSIGNED_SHORT, 0, Math.ceil(this.visible / BATCH));
  }
}

function linkProgram(gl, degree) {
  const head = `#version 300 es\n#define SH_DEGREE ${degree}\n#define SH_TEXELS ${harmonicTexels(degree)}\n#define BATCH ${BATCH}\n`;
  const program = gl.createProgram();
  for (const [kind, id] of [[gl.VERTEX_SHADER, "vertex-shader"], [gl.FRAGMENT_SHADER, "fragment-shader"]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, head + document.getElementById(id).textContent);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS) && !gl.isContextLost()) {
    const logs = gl.getAttachedShaders(program).map((shader) => gl.getShaderInfoLog(shader));
    throw new Error(`The graphics driver refused a shader: ${[gl.getProgramInfoLog(program), ...logs].join(" ")}`);
  }
  return program;
}

/** A texture of `rows` rows of TEXTURE_WIDTH texels, bound to `unit`, which becomes the active one. */
function createTexture(gl, unit, format, rows) {
  if (rows > gl.getParameter(gl.MAX_TEXTURE_SIZE)) {
    throw new Error("The scene has more Gaussians than this device's graphics can hold.");
  }
  gl.activeTexture(gl.TEXTURE0 + unit);
  gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
  gl.texStorage2D(gl.TEXTURE_2D, 1, format, TEXTURE_WIDTH, rows);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
}

/** Whole rows of the active texture, from the first. */
function fillTexture(gl, format, words) {
  const rows = Math.floor(words.length / TEXTURE_WIDTH / (format === gl.RED_INTEGER ? 1 : 4));
  gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, TEXTURE_WIDTH, rows, format, gl.UNSIGNED_INT, words);
}

