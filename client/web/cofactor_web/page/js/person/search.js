// Search by title as you type, and rate what you find.

import { isAborted, latestOnly } from "../core/api.js";
import { fill, h, icon } from "../core/dom.js";
import { failure } from "../core/notice.js";
import { remember } from "../items/lookup.js";
import { opinion } from "../items/opinion.js";
import { row } from "../items/row.js";
import { showSimilar } from "../items/similar.js";
import { titleOf } from "../items/item.js";

const PAUSE_MS = 120;
const SHOWN = 8;

/** @param {import("../app.js").App} app */
export function search(app) {
  const requests = latestOnly();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const input = h("input", { id: "search", type: "search", autocomplete: "off", spellcheck: "false", maxlength: 256,
    placeholder: "Search by title", "aria-label": "Search by title", "aria-controls": "search-results", oninput: onInput, onkeydown: onKey });
  const status = h("p", { class: "quiet search-status", role: "status" });
  const results = h("ul", { id: "search-results", class: "rows" });
  const found = h("div", { class: "search-found", hidden: true }, status, results);
  const node = h("section", { class: "search", "aria-label": "Search" }, h("div", { class: "search-box" }, icon("search"), input), found);

  function onInput() {
    clearTimeout(timer);
    if (input.value.trim()) timer = setTimeout(run, PAUSE_MS);
    else close();
  }
  /** @param {KeyboardEvent} event */
  function onKey(event) {
    if (event.key === "Escape") (input.value = ""), close();
    if (event.key === "ArrowDown") results.querySelector("button")?.focus();
  }
  function close() {
    requests.abort();
    found.hidden = true;
    fill(results);
  }
  async function run() {
    const query = input.value.trim();
    try {
      const { items } = await requests.call("search-items", { model: app.model.ref, query, pageSize: SHOWN });
      remember(items);
      found.hidden = false;
      status.textContent = items.length ? "" : `No title has all of these words: ${query}`;
      fill(results, items.map((/** @type {any} */ item) => resultRow(app, item)));
    } catch (error) {
      if (isAborted(error)) return;
      found.hidden = false;
      status.textContent = "";
      fill(results, h("li", {}, failure(error, run)));
    }
  }
  const stop = app.profile.subscribe(() => results.querySelectorAll(".opinion").forEach((/** @type {any} */ control) => control.refresh()));
  return { node, leave: () => (stop(), clearTimeout(timer), requests.abort()) };
}

/** @param {import("../app.js").App} app @param {any} item */
function resultRow(app, item) {
  const similar = h("button", { type: "button", class: "link-button", "aria-label": `More like this: ${titleOf(item)}`, onclick: () => showSimilar(app, item) }, "More like this");
  return row(item, { below: [app.profile.isVisitor && opinion(app, item), similar] });
}
