// The starter set, one item at a time: items whose ratings tell most about a taste.

import { call } from "../core/api.js";
import { connection } from "../core/connection.js";
import { fill, h } from "../core/dom.js";
import { failure, skeletons } from "../core/notice.js";
import { cover } from "../items/cover.js";
import { facts, titleOf } from "../items/item.js";
import { remember } from "../items/lookup.js";
import { opinion } from "../items/opinion.js";

const SET_SIZE = 60;
const LATER = 3;

/** @param {import("../app.js").App} app */
export function starter(app) {
  const { model, profile } = app;
  const body = h("div", { class: "starter-body" }, skeletons(1, "starter"));
  const node = h("section", { class: "panel starter", "aria-labelledby": "starter-title" },
    h("div", { class: "panel-head" },
      h("h2", { id: "starter-title" }, model.takesEvents ? "Do you know this one?" : "What do you think of…"),
      h("button", { type: "button", class: "link-button", onclick: () => app.undo() }, "Undo")), body);
  /** @type {any[] | undefined} */
  let items;
  let shownId = "";

  async function load() {
    try {
      items = await starterSet(model);
      remember(items);
      shownId = "";
      show();
    } catch (error) {
      fill(body, failure(error, load));
    }
  }
  function show() {
    node.hidden = !profile.isVisitor;
    if (!items || !profile.isVisitor) return;
    const answered = profile.answered;
    const left = items.filter((item) => !answered.has(item.itemId));
    if (!left.length) return fill(body, h("p", { class: "quiet" }, "You have seen the whole set. Search for more, or rate what is recommended."));
    if (left[0].itemId === shownId) return;
    const hadFocus = body.contains(document.activeElement);
    shownId = left[0].itemId;
    fill(body, inFront(app, left[0]), later(left.slice(1, 1 + LATER)));
    if (hadFocus) body.querySelector("button")?.focus();
  }
  /** @param {KeyboardEvent} event */
  function onKey(event) {
    const at = /** @type {HTMLElement} */ (event.target);
    if (event.ctrlKey || event.metaKey || event.altKey || at.closest("input, select, textarea, dialog") || node.hidden) return;
    const item = itemInFocus(at) ?? items?.find(({ itemId }) => itemId === shownId);
    const step = model.steps[Number(event.key) - 1];
    if (item && step !== undefined && event.key !== " ") app.rate(item, step);
    else if (item && event.key === "n" && item.itemId === shownId) app.skip(item);
  }
  /** @param {HTMLElement} at */
  function itemInFocus(at) {
    const card = /** @type {any} */ (at.closest(".card"));
    return card?.item;
  }
  addEventListener("keydown", onKey);
  const stops = [profile.subscribe(show), connection.onReturn(load), () => removeEventListener("keydown", onKey)];
  load();
  return { node, leave: () => stops.forEach((stop) => stop()) };
}

/** The items that tell most; the best known ones if the server is older than this order. @param {import("../core/model.js").ShownModel} model @returns {Promise<any[]>} */
async function starterSet(model) {
  const request = { model: model.ref, pageSize: Math.min(SET_SIZE, model.pageLimit) };
  try {
    return (await call("list-top-items", { ...request, order: "ORDER_MOST_INFORMATIVE" })).items;
  } catch (/** @type {any} */ error) {
    if (error.status !== 400) throw error;
    return (await call("list-top-items", { ...request, order: "ORDER_MOST_RATED" })).items;
  }
}

/** @param {import("../app.js").App} app @param {any} item */
function inFront(app, item) {
  const hint = app.model.takesEvents ? null : h("p", { class: "quiet key-hint" }, "Keys: ", h("kbd", {}, `1–${app.model.steps.length}`), " rate, ", h("kbd", {}, "n"), " not seen, ", h("kbd", {}, "u"), " undo");
  return h("div", { class: "front", data: { item: item.itemId } },
    h("div", { class: "front-cover" }, cover(item, 6)),
    h("h3", { class: "front-title" }, titleOf(item)), facts(item),
    h("div", { class: "front-actions" }, opinion(app, item),
      h("button", { type: "button", class: "button", onclick: () => app.skip(item) }, app.model.takesEvents ? "Skip" : "Not seen")), hint);
}

/** @param {any[]} items */
function later(items) {
  return items.length > 0 && h("p", { class: "later" }, h("span", { class: "quiet" }, "Then "), items.map(titleOf).join(" · "));
}
