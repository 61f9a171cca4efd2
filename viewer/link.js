// What scripts of ours in the page say goes back through a text field of the panel, which viser reports like any other.
// The server appends `recon.meet(id of the field)`.
window.recon = window.recon || (() => {
  let field = null;
  // The field is shared by all tabs, and what it holds already would be no news: no two messages are the same.
  const mark = Math.random().toString(36).slice(2);
  let sent = 0;

  const input = () => {
    const label = document.querySelector(`label[for="${field}"]`);
    return label && label.closest(":has(input)").querySelector("input");
  };

  // React takes over a value only if it is set past its own property and announced.
  function send(topic, text) {
    const target = input();
    if (!target) return setTimeout(() => send(topic, text), 30); // the panel is not drawn yet
    const own = Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value");
    own.set.call(target, `${topic}:${mark}${++sent}:${text}`);
    target.dispatchEvent(new Event("input", { bubbles: true }));
  }

  // Who draws here: the name of the graphics processor, or of what stands in for one.
  function renderer() {
    try {
      const gl = document.createElement("canvas").getContext("webgl2");
      const names = gl.getExtension("WEBGL_debug_renderer_info");
      const name = names ? gl.getParameter(names.UNMASKED_RENDERER_WEBGL) : "unknown";
      gl.getExtension("WEBGL_lose_context")?.loseContext();
      return name;
    } catch (error) {
      return "none";
    }
  }

  // On a phone viser lays the panel over the lower part of the picture. The picture ends above it instead, so that all
  // of a photo that one flew to is seen. Without the elements looked for, viser's own layout remains.
  const PANEL = '.mantine-Paper-root[style*="position: fixed"]';
  const sizes = new ResizeObserver(() => soon());
  let due = null;
  let watched = null;

  function soon() {
    clearTimeout(due);
    due = setTimeout(makeRoom, 150);
  }

  function makeRoom() {
    // viser draws on two canvases, one for the scene and one for what is selected: the picture is what holds both.
    let picture = document.querySelector("canvas[data-engine]");
    while (picture && picture.querySelectorAll("canvas:not(#recon-lasso)").length < 2) picture = picture.parentElement;
    picture = picture?.parentElement;
    const panel = document.querySelector(PANEL);
    if (panel !== watched) {
      sizes.disconnect();
      if (panel) sizes.observe(panel);
      watched = panel;
    }
    if (picture) picture.style.height = panel ? `calc(100% - ${panel.offsetHeight}px)` : "100%";
  }

  // viser warns that drawing in software is slow, over the picture. Here the server draws then, so it is closed.
  function hush(tries = 60) {
    const notices = [...document.querySelectorAll("div[role=alert]")];
    const close = notices.find((notice) => notice.textContent.includes("Software WebGL"))?.querySelector("button");
    if (close) close.click();
    else if (tries > 0) setTimeout(hush, 250, tries - 1);
  }

  function meet(id) {
    field = id;
    send("renderer", renderer());
    hush();
    window.addEventListener("resize", soon);
    for (const wait of [0, 1000, 5000]) setTimeout(makeRoom, wait); // the panel may not be drawn yet
  }

  return { meet, send };
})();
