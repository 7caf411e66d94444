// The visible part of the map: panned and zoomed by mouse, touch and keys.

const MOST_ZOOM = 40;
const MARGIN_PX = 36;
const CLICK_PX = 5;

export class Viewport {
  /** @param {HTMLCanvasElement} canvas @param {() => void} onChange */
  constructor(canvas, onChange) {
    this.canvas = canvas;
    this.onChange = onChange;
    this.width = 1;
    this.height = 1;
    this.x = 0;
    this.y = 0;
    this.zoom = 1;
    /** @type {Map<number, {x: number, y: number}>} */
    this.fingers = new Map();
    this.moved = 0;
    canvas.addEventListener("pointerdown", (event) => this.press(event));
    canvas.addEventListener("pointermove", (event) => this.drag(event));
    canvas.addEventListener("pointerup", (event) => this.release(event));
    canvas.addEventListener("pointercancel", (event) => this.fingers.delete(event.pointerId));
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    canvas.addEventListener("keydown", (event) => this.key(event));
  }

  /** @param {number} width @param {number} height */
  resize(width, height) {
    this.width = width;
    this.height = height;
  }

  /** Pixels of one unit of the map, in both directions. */
  get scales() {
    return [((this.width - 2 * MARGIN_PX) / 2) * this.zoom, ((this.height - 2 * MARGIN_PX) / 2) * this.zoom];
  }

  /** Place on the canvas of a point of the map. @param {number} x @param {number} y */
  project(x, y) {
    const [sx, sy] = this.scales;
    return [this.width / 2 + (x - this.x) * sx, this.height / 2 - (y - this.y) * sy];
  }

  /** @param {number} px @param {number} py */
  shows(px, py) {
    return px > -20 && py > -20 && px < this.width + 20 && py < this.height + 20;
  }

  /** @param {number} x @param {number} y @param {number} zoom */
  centre(x, y, zoom) {
    [this.x, this.y, this.zoom] = [x, y, Math.max(this.zoom, zoom)];
    this.onChange();
  }

  reset() {
    [this.x, this.y, this.zoom] = [0, 0, 1];
    this.onChange();
  }

  /** Zoom around a place of the canvas. @param {number} factor @param {number} [px] @param {number} [py] */
  zoomBy(factor, px = this.width / 2, py = this.height / 2) {
    const before = this.scales;
    this.zoom = Math.max(1, Math.min(MOST_ZOOM, this.zoom * factor));
    const after = this.scales;
    this.x += (px - this.width / 2) * (1 / before[0] - 1 / after[0]);
    this.y -= (py - this.height / 2) * (1 / before[1] - 1 / after[1]);
    this.keepInside();
  }

  /** @param {number} dx @param {number} dy in pixels */
  pan(dx, dy) {
    const [sx, sy] = this.scales;
    this.x -= dx / sx;
    this.y += dy / sy;
    this.keepInside();
  }

  keepInside() {
    const reach = 1 - 1 / this.zoom + 0.0001;
    this.x = Math.max(-reach, Math.min(reach, this.x));
    this.y = Math.max(-reach, Math.min(reach, this.y));
    this.onChange();
  }

  /** @param {PointerEvent} event */
  press(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.fingers.set(event.pointerId, { x: event.offsetX, y: event.offsetY });
    this.moved = 0;
  }

  /** @param {PointerEvent} event */
  drag(event) {
    const before = this.fingers.get(event.pointerId);
    if (!before) return;
    const now = { x: event.offsetX, y: event.offsetY };
    const other = [...this.fingers].find(([id]) => id !== event.pointerId)?.[1];
    this.fingers.set(event.pointerId, now);
    this.moved += Math.hypot(now.x - before.x, now.y - before.y);
    if (!other) return this.pan(now.x - before.x, now.y - before.y);
    const factor = Math.hypot(now.x - other.x, now.y - other.y) / Math.max(1, Math.hypot(before.x - other.x, before.y - other.y));
    this.zoomBy(factor, (now.x + other.x) / 2, (now.y + other.y) / 2);
  }

  /** @param {PointerEvent} event */
  release(event) {
    const isClick = this.fingers.size === 1 && this.moved < CLICK_PX;
    this.fingers.delete(event.pointerId);
    if (isClick) this.canvas.dispatchEvent(new CustomEvent("mapclick", { detail: { x: event.offsetX, y: event.offsetY } }));
  }

  /** The wheel zooms only if the map has the focus or Ctrl is pressed, so that the page can be scrolled past it. @param {WheelEvent} event */
  wheel(event) {
    if (!event.ctrlKey && document.activeElement !== this.canvas) return;
    event.preventDefault();
    this.zoomBy(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.002)), event.offsetX, event.offsetY);
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const moves = /** @type {Record<string, [number, number]>} */ ({ ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] });
    if (moves[event.key]) this.pan(...moves[event.key]);
    else if (event.key === "+" || event.key === "=") this.zoomBy(1.4);
    else if (event.key === "-") this.zoomBy(1 / 1.4);
    else if (event.key === "0") this.reset();
    else return;
    event.preventDefault();
  }
}
