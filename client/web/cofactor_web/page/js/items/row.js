// An item as one line of a list.

import { h } from "../core/dom.js";
import { cover } from "./cover.js";
import { facts, titleOf } from "./item.js";

/**
 * @param {any} item @param {{side?: any, below?: any, note?: string}} [parts] What stands at the end of the line, and below it.
 */
export function row(item, { side, below, note } = {}) {
  return h("li", { class: "row", data: { item: item.itemId } },
    h("div", { class: "row-mark" }, cover(item, 1)),
    h("div", { class: "row-text" }, h("span", { class: "row-title" }, titleOf(item)), facts(item, 2), note && h("p", { class: "quiet" }, note), below),
    side && h("div", { class: "row-side" }, side));
}
