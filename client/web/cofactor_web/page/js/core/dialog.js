// A modal dialog with a title; it closes with Escape, its button, or a click beside it, and gives the focus back.

import { h, icon } from "./dom.js";

/** Open a dialog. @param {string} title @param {any} body @param {string} [subtitle] @returns {{close: () => void}} */
export function openDialog(title, body, subtitle = "") {
  const before = document.activeElement;
  const heading = h("h2", { id: "dialog-title" }, title);
  const dialog = h("dialog", { class: "dialog", "aria-labelledby": "dialog-title" },
    h("div", { class: "dialog-head" },
      h("div", {}, heading, subtitle && h("p", { class: "quiet" }, subtitle)),
      h("button", { type: "button", class: "icon-button", "aria-label": "Close", onclick: () => dialog.close() }, icon("close"))),
    h("div", { class: "dialog-body" }, body));
  dialog.addEventListener("click", (/** @type {MouseEvent} */ event) => event.target === dialog && dialog.close());
  dialog.addEventListener("close", () => {
    dialog.remove();
    if (before instanceof HTMLElement && before.isConnected) before.focus();
  });
  for (const open of document.querySelectorAll("dialog")) open.close();
  document.body.append(dialog);
  dialog.showModal();
  return { close: () => dialog.close() };
}
