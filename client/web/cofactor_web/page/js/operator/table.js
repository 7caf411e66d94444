// A table of numbers: the first column names the row.

import { h } from "../core/dom.js";

/** @param {string[]} headings @param {any[][]} rows The name of the row, then a value for each further heading. */
export function table(headings, rows) {
  return h("table", {},
    h("thead", {}, h("tr", {}, headings.map((name, i) => h("th", { scope: "col", class: i ? "number" : "" }, name)))),
    h("tbody", {}, rows.map(([name, ...values]) => h("tr", {}, h("th", { scope: "row" }, name), values.map((value) => h("td", { class: "number" }, value))))));
}
