// A drawing for an item without a picture: tiles whose shapes follow from its id, in the colours of its genres.

import { svg } from "../core/dom.js";
import { hueOf } from "./genres.js";

const SHAPES = [
  (/** @type {number} */ x) => svg("path", { d: `M${x} 0h24a24 24 0 0 1-24 24z` }),
  (/** @type {number} */ x) => svg("path", { d: `M${x + 24} 24h-24a24 24 0 0 1 24-24z` }),
  (/** @type {number} */ x) => svg("circle", { cx: x + 12, cy: 12, r: 8 }),
  (/** @type {number} */ x) => svg("path", { d: `M${x} 24a12 12 0 0 1 24 0z` }),
  (/** @type {number} */ x) => svg("path", { d: `M${x} 0a12 12 0 0 0 24 0z` }),
  (/** @type {number} */ x) => svg("path", { d: `M${x} 24L${x + 24} 0v24z` }),
  (/** @type {number} */ x) => svg("path", { d: `M${x + 4} 12a8 8 0 0 1 16 0 8 8 0 0 1-16 0zm4 0a4 4 0 0 0 8 0 4 4 0 0 0-8 0z`, "fill-rule": "evenodd" }),
  (/** @type {number} */ x) => svg("rect", { x: x + 9, y: 0, width: 6, height: 24 }),
];

/** Draw the cover of an item, `n` tiles wide. @param {{itemId: string, genres: string[]}} item @param {number} n */
export function cover(item, n) {
  const random = generator(item.itemId);
  const hues = item.genres.length ? item.genres.slice(0, 2).map(hueOf) : [hueOf(undefined)];
  const tiles = Array.from({ length: n }, (_, i) => {
    const hue = hues[Math.floor(random() * hues.length) % hues.length];
    const shape = SHAPES[Math.floor(random() * SHAPES.length)](i * 24);
    shape.setAttribute("class", "cover-shape");
    const ground = svg("rect", { class: `cover-ground cover-${Math.floor(random() * 3)}`, x: i * 24, width: 24, height: 24 });
    return svg("g", { vars: { "--hue": hue } }, ground, shape);
  });
  return svg("svg", { class: "cover", viewBox: `0 0 ${n * 24} 24`, preserveAspectRatio: "xMidYMid slice", "aria-hidden": "true" }, tiles);
}

/** Return a function of numbers from 0 to 1 that follow from a text (mulberry32). @param {string} text */
function generator(text) {
  let state = 2166136261;
  for (const letter of text) state = Math.imul(state ^ letter.charCodeAt(0), 16777619);
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let value = Math.imul(state ^ (state >>> 15), 1 | state);
    value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value;
    return ((value ^ (value >>> 14)) >>> 0) / 4294967296;
  };
}
