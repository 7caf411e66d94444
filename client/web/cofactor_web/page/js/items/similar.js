// "More like this": the most similar items, which can be rated at once.

import { call } from "../core/api.js";
import { openDialog } from "../core/dialog.js";
import { fill, h } from "../core/dom.js";
import { percent } from "../core/format.js";
import { failure, skeletons } from "../core/notice.js";
import { titleOf } from "./item.js";
import { opinion } from "./opinion.js";
import { row } from "./row.js";

/** @param {import("../app.js").App} app @param {any} item */
export function showSimilar(app, item) {
  const list = h("ul", { class: "rows" }, skeletons(5, "row", "li"));
  const body = h("div", {}, list);
  openDialog("More like this", body, titleOf(item));
  const load = async () => {
    try {
      const { results } = await call("similar-items", { model: app.model.ref, itemIds: [item.itemId], pageSize: 12, returnItems: true });
      fill(list, results.map((/** @type {any} */ result) => similarRow(app, result)));
    } catch (error) {
      fill(body, failure(error, load));
    }
  };
  load();
}

/** @param {import("../app.js").App} app @param {any} result */
function similarRow(app, result) {
  const control = app.profile.isVisitor ? opinion(app, result.item) : undefined;
  if (control) {
    control.addEventListener("click", () => control.refresh());
  }
  return row(result.item, { side: h("span", { class: "number", title: "Cosine similarity" }, percent(Number(result.score))), below: control });
}
