// What the person said so far, or what the signed-in user rated.

import { isAborted, latestOnly } from "../core/api.js";
import { fill, h, icon, keyed } from "../core/dom.js";
import { plural, rating as ratingText } from "../core/format.js";
import { failure, skeletons } from "../core/notice.js";
import { titleOf } from "../items/item.js";
import { lookUp } from "../items/lookup.js";
import { opinion } from "../items/opinion.js";
import { row } from "../items/row.js";

/** @param {import("../app.js").App} app */
export function historyPanel(app) {
  const { profile, model } = app;
  const heading = h("h2", { id: "history-title" });
  const clear = h("button", { type: "button", class: "link-button", onclick: () => profile.clear() }, "Start over");
  const list = h("ul", { class: "rows history" });
  const note = h("div", {});
  const node = h("section", { class: "panel", "aria-labelledby": "history-title" }, h("div", { class: "panel-head" }, heading, clear), note, list);
  const requests = latestOnly();
  let shownUser = "";

  function show() {
    const { userId, ratings, events } = profile.state.value;
    if (userId) return showUser(userId);
    shownUser = "";
    fill(note);
    const entries = [...Object.values(ratings), ...Object.values(events)].sort((a, b) => b.at - a.at);
    node.hidden = !entries.length;
    clear.hidden = false;
    heading.textContent = model.takesEvents ? `What you chose (${entries.length})` : `Your ratings (${entries.length})`;
    keyed(list, entries, ({ item }) => item.itemId, ({ item }) => ownRow(app, item));
  }
  /** @param {string} userId */
  async function showUser(userId) {
    if (userId === shownUser) return;
    shownUser = userId;
    node.hidden = false;
    clear.hidden = true;
    heading.textContent = model.takesEvents ? `What ${userId} chose` : `What ${userId} rated`;
    keyed(list, [], String, () => null);
    fill(list);
    fill(note, skeletons(3, "row"));
    try {
      const rated = await ratedBy(app, requests, userId);
      if (shownUser !== userId) return;
      fill(note, rated.length ? h("p", { class: "quiet" }, plural(rated.length, "item")) : h("p", { class: "quiet" }, "Nothing is known of this user."));
      fill(list, rated.map((/** @type {any} */ { item, rating }) => row(item, { side: h("span", { class: "number" }, model.takesEvents ? rating.toFixed(1) : `★ ${ratingText(rating)}`) })));
    } catch (error) {
      if (!isAborted(error)) fill(note, failure(error, () => ((shownUser = ""), show())));
    }
  }
  const stop = profile.subscribe(show);
  show();
  return { node, leave: () => (stop(), requests.abort()) };
}

/** @param {import("../app.js").App} app @param {any} item */
function ownRow(app, item) {
  const control = opinion(app, item);
  const remove = h("button", { type: "button", class: "icon-button small", "aria-label": `Take back: ${titleOf(item)}`, onclick: () => app.forget(item.itemId) }, icon("close"));
  const node = row(item, { below: control, side: remove });
  node.update = () => control.refresh();
  return node;
}

/**
 * What a user of the training data rated, best first: the explanation of any item lists it.
 * @param {import("../app.js").App} app @param {ReturnType<typeof latestOnly>} requests @param {string} userId
 */
export async function ratedBy(app, requests, userId) {
  const { model } = app;
  const user = { userId };
  const { results } = await requests.call("recommend", { model: model.ref, user, pageSize: 1 });
  if (!results.length) return [];
  const { contributions } = await requests.call("explain", { model: model.ref, user, itemId: results[0].itemId, maxContributions: model.pageLimit });
  const items = await lookUp(model, contributions.map((/** @type {any} */ entry) => entry.itemId));
  return contributions
    .map((/** @type {any} */ entry) => ({ item: items.get(entry.itemId) ?? { itemId: entry.itemId }, rating: Number(entry.rating) }))
    .sort((/** @type {any} */ a, /** @type {any} */ b) => b.rating - a.rating);
}
