// A recommended item as a card.

import { h, icon } from "../core/dom.js";
import { predicted } from "../core/format.js";
import { cover } from "./cover.js";
import { explain } from "./explanation.js";
import { facts, titleOf } from "./item.js";
import { opinion } from "./opinion.js";
import { showSimilar } from "./similar.js";

/** @typedef {{result: any, place: number}} Place */

/** @param {import("../app.js").App} app @param {Place} start */
export function card(app, start) {
  const { item } = start.result;
  const title = titleOf(item);
  const control = app.profile.isVisitor ? opinion(app, item) : null;
  const score = h("div", { class: "card-score" });
  const place = h("span", { class: "card-place", "aria-hidden": "true" });
  const action = (/** @type {string} */ label, /** @type {() => void} */ act) =>
    h("button", { type: "button", class: "link-button", "aria-label": `${label}: ${title}`, onclick: act }, label);
  const node = h("li", { class: "card", data: { item: item.itemId } },
    h("div", { class: "card-cover" }, cover(item, 7), place),
    h("div", { class: "card-text" },
      h("div", { class: "card-head" }, h("h3", { class: "card-title" }, title), score),
      facts(item), control,
      h("div", { class: "card-actions" },
        action("Why?", () => explain(app, item)),
        action("More like this", () => showSimilar(app, item)),
        app.profile.isVisitor && action("Not interested", () => app.hide(item)))));
  node.update = (/** @type {Place} */ now) => {
    place.textContent = String(now.place);
    showScore(score, now.result);
    control?.refresh();
  };
  node.refresh = () => control?.refresh();
  return node;
}

/** @param {HTMLElement} node @param {any} result */
function showScore(node, result) {
  if (result.predictedRating === undefined) return node.replaceChildren();
  const text = predicted(Number(result.predictedRating));
  if (node.dataset.shown === text) return;
  node.dataset.shown = text;
  node.replaceChildren(h("span", { class: "visually-hidden" }, "Predicted rating "), icon("star"), text);
}
