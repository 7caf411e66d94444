// Short messages at the bottom of the page.

import { fill, h } from "./dom.js";

const SHOWN_MS = 6000;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer;

/** Say something for a few seconds, in place of the last message. @param {string} text @param {{label: string, act: () => void}} [action] */
export function toast(text, action) {
  const region = document.getElementById("toasts");
  if (!region) return;
  const act = action && h("button", { type: "button", class: "toast-action", onclick: () => (hide(), action.act()) }, action.label);
  fill(region, h("div", { class: "toast" }, h("span", {}, text), act));
  clearTimeout(timer);
  timer = setTimeout(hide, SHOWN_MS);
}

function hide() {
  document.getElementById("toasts")?.replaceChildren();
}
