// A freehand outline, drawn over the 3D picture of one tab. viser has no such gesture, so the server sends this script
// when a person asks for it, and appends `reconLasso.start()`.
window.reconLasso = window.reconLasso || (() => {
  const STEP = 2; // pixels between points
  const LEAST_AREA = 30; // square pixels: less is a slip of the hand
  let sheet = null;
  let points = [];

  function cancel() {
    if (sheet) sheet.remove();
    sheet = null;
    points = [];
    window.removeEventListener("keydown", onKey);
  }

  function start() {
    cancel();
    const picture = document.querySelector("canvas[data-engine]") || document.querySelector("canvas");
    const box = picture.getBoundingClientRect();
    sheet = document.createElement("canvas");
    sheet.id = "recon-lasso";
    sheet.width = Math.round(box.width);
    sheet.height = Math.round(box.height);
    Object.assign(sheet.style, {
      position: "fixed", left: `${box.left}px`, top: `${box.top}px`, width: `${box.width}px`,
      height: `${box.height}px`, zIndex: 1, cursor: "crosshair", touchAction: "none",
    });
    picture.parentElement.appendChild(sheet);
    sheet.addEventListener("pointerdown", (event) => begin(event));
    sheet.addEventListener("pointermove", (event) => extend(event));
    sheet.addEventListener("pointerup", (event) => end(event));
    sheet.addEventListener("pointercancel", (event) => { event.stopPropagation(); points = []; draw(); });
    window.addEventListener("keydown", onKey);
  }

  function onKey(event) {
    if (event.key === "Escape") cancel();
  }

  function begin(event) {
    event.stopPropagation(); // the camera stays where it is
    if (!event.isPrimary || event.button !== 0) return;
    sheet.setPointerCapture(event.pointerId);
    points = [place(event)];
  }

  function extend(event) {
    event.stopPropagation();
    if (!points.length || !event.isPrimary) return;
    for (const sample of event.getCoalescedEvents?.() ?? [event]) {
      const [x, y] = place(sample);
      const [u, v] = points[points.length - 1];
      if (Math.hypot(x - u, y - v) >= STEP) points.push([x, y]);
    }
    draw();
  }

  function end(event) {
    event.stopPropagation();
    if (!points.length || !event.isPrimary) return;
    const outline = points;
    const { width, height } = sheet;
    points = [];
    draw();
    if (Math.abs(area(outline)) < LEAST_AREA) return;
    const text = outline.map(([x, y]) => `${(x / width).toFixed(4)},${(y / height).toFixed(4)}`).join(" ");
    cancel();
    recon.send("lasso", text);
  }

  function place(event) {
    const box = sheet.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  function area(outline) {
    return outline.reduce((sum, [x, y], i) => {
      const [u, v] = outline[(i + 1) % outline.length];
      return sum + (x * v - u * y) / 2;
    }, 0);
  }

  function draw() {
    const ink = sheet.getContext("2d");
    ink.clearRect(0, 0, sheet.width, sheet.height);
    if (points.length < 2) return;
    ink.beginPath();
    points.forEach(([x, y]) => ink.lineTo(x, y));
    ink.closePath();
    ink.fillStyle = "rgba(255, 150, 30, 0.16)";
    ink.fill("evenodd");
    for (const [color, dash] of [["rgb(20, 20, 20)", []], ["rgb(255, 240, 200)", [6, 4]]]) {
      ink.strokeStyle = color;
      ink.lineWidth = 2;
      ink.setLineDash(dash);
      ink.stroke();
    }
  }

  return { start, cancel };
})();
