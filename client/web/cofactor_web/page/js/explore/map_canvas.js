// The map of the catalogue on a canvas: points, names of clusters, titles where there is room.

import { h } from "../core/dom.js";
import { hueOf } from "../items/genres.js";
import { Viewport } from "./viewport.js";

const HIT_PX = 14;
const MOST_TITLES = 36;
const TITLES_FROM_ZOOM = 2.2;

/**
 * @typedef {object} Point
 * @property {string} itemId @property {string} title @property {string[]} genres @property {number} x @property {number} y @property {number} ratingCount
 */

export class MapCanvas {
  /**
   * @param {Point[]} points Most rated first. @param {{x: number, y: number, text: string}[]} labels
   * @param {(point: Point) => void} onChoose
   */
  constructor(points, labels, onChoose) {
    this.points = points;
    this.labels = labels;
    this.onChoose = onChoose;
    /** @type {Map<string, string>} Item id -> "rated" | "recommended" | "chosen". */
    this.marks = new Map();
    this.genre = "";
    /** @type {Point | undefined} */
    this.hovered = undefined;
    /** @type {Point | undefined} */
    this.chosen = undefined;
    this.frame = 0;
    const most = Math.max(1, ...points.map((point) => point.ratingCount));
    this.sizes = points.map((point) => 2 + 4 * Math.sqrt(point.ratingCount / most));
    this.canvas = h("canvas", { class: "map-canvas", tabindex: 0, role: "application", "aria-label": "Map of the catalogue. Arrows move, plus and minus zoom, Enter chooses the item in the middle." });
    this.viewport = new Viewport(this.canvas, () => this.draw());
    this.canvas.addEventListener("pointermove", (/** @type {PointerEvent} */ event) => this.hover(event));
    this.canvas.addEventListener("pointerleave", () => this.setHover(undefined));
    this.canvas.addEventListener("mapclick", (/** @type {CustomEvent} */ event) => this.choose(this.at(event.detail.x, event.detail.y)));
    this.canvas.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      if (event.key === "Enter") this.choose(this.at(this.viewport.width / 2, this.viewport.height / 2, Infinity));
    });
    for (const name of ["focus", "blur"]) this.canvas.addEventListener(name, () => this.draw());
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(this.canvas);
    this.onTheme = () => this.draw();
    addEventListener("themechange", this.onTheme);
  }

  close() {
    this.observer.disconnect();
    removeEventListener("themechange", this.onTheme);
  }

  /** Mark items. @param {Map<string, string>} marks */
  mark(marks) {
    this.marks = marks;
    this.draw();
  }

  /** Show only the items of a genre in colour; all if it is empty. @param {string} genre */
  light(genre) {
    this.genre = genre;
    this.draw();
  }

  /** Move to an item and choose it. @param {string} itemId */
  goTo(itemId) {
    const point = this.points.find((other) => other.itemId === itemId);
    if (!point) return false;
    this.viewport.centre(point.x, point.y, 5);
    this.choose(point);
    return true;
  }

  /** @param {Point | undefined} point */
  choose(point) {
    if (!point) return;
    this.chosen = point;
    this.onChoose(point);
    this.draw();
  }

  /** @param {PointerEvent} event */
  hover(event) {
    if (event.pointerType === "touch" || event.buttons) return;
    this.setHover(this.at(event.offsetX, event.offsetY));
  }

  /** @param {Point | undefined} point */
  setHover(point) {
    if (point === this.hovered) return;
    this.hovered = point;
    this.canvas.style.cursor = point ? "pointer" : "grab";
    this.draw();
  }

  /** The nearest point to a place of the canvas. @param {number} x @param {number} y @param {number} [within] */
  at(x, y, within = HIT_PX) {
    let best;
    let nearest = within * within;
    for (const point of this.points) {
      const [px, py] = this.viewport.project(point.x, point.y);
      const distance = (px - x) ** 2 + (py - y) ** 2;
      if (distance < nearest) [best, nearest] = [point, distance];
    }
    return best;
  }

  resize() {
    const ratio = devicePixelRatio || 1;
    this.viewport.resize(this.canvas.clientWidth, this.canvas.clientHeight);
    this.canvas.width = this.canvas.clientWidth * ratio;
    this.canvas.height = this.canvas.clientHeight * ratio;
    this.paint();
  }

  /** Paint in the next frame. */
  draw() {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      this.paint();
    });
  }

  paint() {
    const context = /** @type {CanvasRenderingContext2D} */ (this.canvas.getContext("2d"));
    const ratio = devicePixelRatio || 1;
    const style = getComputedStyle(this.canvas);
    this.colours = { ink: style.getPropertyValue("--ink"), ground: style.getPropertyValue("--ground-2"), accent: style.getPropertyValue("--accent"), star: style.getPropertyValue("--star"),
      light: style.getPropertyValue("--point-light"), faint: style.getPropertyValue("--line") };
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, this.viewport.width, this.viewport.height);
    context.lineJoin = "round";
    this.paintPoints(context);
    /** @type {number[][]} */
    const taken = [];
    this.paintMarks(context);
    this.paintLabels(context, taken);
    this.paintMarkTitles(context, taken);
    this.paintTitles(context, taken);
    if (this.canvas.matches(":focus-visible")) this.paintCross(context);
  }

  /** Show what Enter would choose the nearest item to. @param {CanvasRenderingContext2D} context */
  paintCross(context) {
    const [x, y] = [this.viewport.width / 2, this.viewport.height / 2];
    context.strokeStyle = this.colours?.accent ?? "";
    context.lineWidth = 2;
    context.stroke(new Path2D(`M${x - 9} ${y}h18M${x} ${y - 9}v18`));
  }

  /** @param {CanvasRenderingContext2D} context */
  paintPoints(context) {
    const growth = Math.min(2.6, Math.sqrt(this.viewport.zoom));
    for (let i = this.points.length - 1; i >= 0; i--) {
      const point = this.points[i];
      const [x, y] = this.viewport.project(point.x, point.y);
      if (!this.viewport.shows(x, y)) continue;
      const isLit = !this.genre || point.genres.includes(this.genre);
      context.globalAlpha = isLit ? 0.78 : 0.5;
      context.fillStyle = isLit ? `oklch(${this.colours?.light} 0.12 ${hueOf(point.genres[0])})` : this.colours?.faint ?? "";
      context.beginPath();
      context.arc(x, y, this.sizes[i] * growth, 0, 7);
      context.fill();
    }
    context.globalAlpha = 1;
  }

  /** "chosen", "rated", "recommended" or undefined. @param {Point} point */
  markOf(point) {
    return point === this.chosen || point === this.hovered ? "chosen" : this.marks.get(point.itemId);
  }

  /** @param {CanvasRenderingContext2D} context */
  paintMarks(context) {
    for (const point of this.points) {
      const mark = this.markOf(point);
      if (!mark) continue;
      const [x, y] = this.viewport.project(point.x, point.y);
      const colour = mark === "rated" ? this.colours?.star : mark === "recommended" ? this.colours?.accent : this.colours?.ink;
      context.beginPath();
      context.arc(x, y, 7, 0, 7);
      context.fillStyle = colour ?? "";
      context.fill();
      context.lineWidth = 2.5;
      context.strokeStyle = this.colours?.ground ?? "";
      context.stroke();
    }
  }

  /** The item in question always has its title; the others where there is room. @param {CanvasRenderingContext2D} context @param {number[][]} taken */
  paintMarkTitles(context, taken) {
    const marked = this.points.filter((point) => this.markOf(point)).sort((a, b) => Number(this.markOf(b) === "chosen") - Number(this.markOf(a) === "chosen"));
    for (const point of marked) {
      const [x, y] = this.viewport.project(point.x, point.y);
      const isChosen = this.markOf(point) === "chosen";
      if (!this.viewport.shows(x, y)) continue;
      const title = point.title || point.itemId;
      if (!this.write(context, taken, title, x, y - 13, isChosen ? 680 : 550, isChosen ? 13 : 12, isChosen)) this.write(context, taken, title, x, y + 22, 550, 12, false);
    }
  }

  /** @param {CanvasRenderingContext2D} context @param {number[][]} taken */
  paintLabels(context, taken) {
    for (const { x, y, text } of this.labels) {
      const [px, py] = this.viewport.project(x, y);
      if (this.viewport.shows(px, py)) this.write(context, taken, text, px, py - 34, 720, 16, true);
    }
  }

  /** @param {CanvasRenderingContext2D} context @param {number[][]} taken */
  paintTitles(context, taken) {
    if (this.viewport.zoom < TITLES_FROM_ZOOM) return;
    let left = MOST_TITLES;
    for (const point of this.points) {
      const [x, y] = this.viewport.project(point.x, point.y);
      if (!this.viewport.shows(x, y) || this.marks.has(point.itemId)) continue;
      if (this.write(context, taken, point.title || point.itemId, x, y - 10, 450, 11.5, false) && !--left) return;
    }
  }

  /**
   * Write a text where no other is; with `anyway` even so. True if it was written.
   * @param {CanvasRenderingContext2D} context @param {number[][]} taken @param {string} text @param {number} x @param {number} y
   * @param {number} weight @param {number} size @param {boolean} anyway
   */
  write(context, taken, text, x, y, weight, size, anyway) {
    context.font = `${weight} ${size}px system-ui, sans-serif`;
    const shown = text.length > 34 ? `${text.slice(0, 33)}…` : text;
    const half = context.measureText(shown).width / 2 + 4;
    const box = [x - half, y - size, x + half, y + 5];
    if (taken.some((other) => box[0] < other[2] && box[2] > other[0] && box[1] < other[3] && box[3] > other[1]) && !anyway) return false;
    taken.push(box);
    context.textAlign = "center";
    context.lineWidth = 4;
    context.strokeStyle = this.colours?.ground ?? "";
    context.fillStyle = this.colours?.ink ?? "";
    context.strokeText(shown, x, y);
    context.fillText(shown, x, y);
    return true;
  }
}
