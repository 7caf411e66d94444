// The items that people like best and least, whatever their taste.

import { call } from "../core/api.js";
import { connection } from "../core/connection.js";
import { fill, h } from "../core/dom.js";
import { signed } from "../core/format.js";
import { failure, skeletons } from "../core/notice.js";
import { titleOf } from "../items/item.js";
import { remember } from "../items/lookup.js";
import { row } from "../items/row.js";

const SHOWN = 10;

/** @param {import("../app.js").App} app @param {(item: any) => void} goTo */
export function extremes(app, goTo) {
  const sides = [["Best liked", "ORDER_HIGHEST_BIAS"], ["Least liked", "ORDER_LOWEST_BIAS"]].map(([title, order]) => {
    const list = h("ol", { class: "rows ranked" }, skeletons(4, "row", "li"));
    const load = async () => {
      try {
        const { items } = await call("list-top-items", { model: app.model.ref, order, pageSize: SHOWN });
        remember(items);
        fill(list, items.map((/** @type {any} */ item) => extremeRow(item, goTo)));
      } catch (error) {
        fill(list, h("li", {}, failure(error, load)));
      }
    };
    load();
    return { node: h("section", { class: "panel" }, h("h2", {}, title), h("p", { class: "quiet" }, "By everybody, regardless of taste"), list), load };
  });
  const leave = connection.onReturn(() => sides.forEach((side) => side.load()));
  return { node: h("div", { class: "two" }, sides.map((side) => side.node)), leave };
}

/** @param {any} item @param {(item: any) => void} goTo */
function extremeRow(item, goTo) {
  const show = h("button", { type: "button", class: "link-button", "aria-label": `Show on the map: ${titleOf(item)}`, onclick: () => goTo(item) }, "Show");
  return row(item, { side: [h("span", { class: "number", title: "Bias, in the unit of the model's score" }, signed(Number(item.bias))), show] });
}
