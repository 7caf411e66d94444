// The token of the admin port. It is kept in memory only, and gone when the page is closed.

import { connection } from "../core/connection.js";
import { h } from "../core/dom.js";

/** @param {import("./operator_view.js").Desk} desk */
export function tokenForm(desk) {
  const input = h("input", { type: "password", id: "admin-token", autocomplete: "off", spellcheck: "false", placeholder: "Admin token", "aria-label": "Admin token" });
  const node = h("form", { class: "inline-form token", onsubmit: (/** @type {Event} */ event) => {
    event.preventDefault();
    desk.set({ token: input.value.trim() });
  } }, input, h("button", { class: "button" }, "Use token"));
  const show = () => (node.hidden = !connection.value.health.operator);
  const stop = connection.subscribe(show);
  show();
  return { node, leave: stop };
}
