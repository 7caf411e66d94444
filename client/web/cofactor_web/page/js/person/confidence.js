// How far off the model is after n ratings of a new user, as the training measured it.

import { fill, h, svg } from "../core/dom.js";
import { plural } from "../core/format.js";

const WIDTH = 280;
const HEIGHT = 56;

/** @param {import("../app.js").App} app */
export function confidence(app) {
  const { curve } = app.model;
  const text = h("p", { class: "quiet" });
  const plot = h("div", { class: "curve" });
  const node = h("section", { class: "panel confidence", "aria-labelledby": "confidence-title" }, h("h2", { id: "confidence-title" }, "How sure is the model?"), plot, text);
  const show = () => {
    node.hidden = curve.length < 2 || !app.profile.isVisitor;
    if (node.hidden) return;
    const n = app.profile.size;
    const error = errorAfter(curve, n);
    const next = curve.find((point) => point.n > n);
    text.textContent = `After ${plural(n, "rating")}, predictions for new users were ${error.toFixed(2)} off on average (RMSE)`
      + (next ? `; after ${next.n}, ${next.rmse.toFixed(2)}.` : ".");
    fill(plot, draw(curve, n, error));
  };
  const stop = app.profile.subscribe(show);
  show();
  return { node, leave: stop };
}

/** Error after n ratings, between two measured points by a straight line. @param {{n: number, rmse: number}[]} curve @param {number} n */
export function errorAfter(curve, n) {
  const after = curve.findIndex((point) => point.n >= n);
  if (after === 0) return curve[0].rmse;
  if (after < 0) return curve[curve.length - 1].rmse;
  const [a, b] = [curve[after - 1], curve[after]];
  return a.rmse + ((b.rmse - a.rmse) * (n - a.n)) / (b.n - a.n);
}

/** @param {{n: number, rmse: number}[]} curve @param {number} n @param {number} error */
function draw(curve, n, error) {
  const last = curve[curve.length - 1].n;
  const [low, high] = [Math.min(...curve.map((point) => point.rmse)), Math.max(...curve.map((point) => point.rmse))];
  const x = (/** @type {number} */ count) => 8 + (WIDTH - 16) * Math.sqrt(Math.min(count, last) / last);
  const y = (/** @type {number} */ rmse) => 8 + (HEIGHT - 16) * ((high - rmse) / (high - low || 1));
  const line = curve.map((point) => `${x(point.n).toFixed(1)},${y(point.rmse).toFixed(1)}`).join(" ");
  return svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `Error by number of ratings: ${curve.map((point) => `${point.n}: ${point.rmse.toFixed(2)}`).join(", ")}` },
    svg("polyline", { class: "curve-line", points: line }),
    curve.map((point) => svg("circle", { class: "curve-point", cx: x(point.n), cy: y(point.rmse), r: 2.5 })),
    svg("circle", { class: "curve-here", cx: x(n), cy: y(error), r: 5.5 }));
}
