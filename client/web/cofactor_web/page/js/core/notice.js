// What a list shows in place of its entries: loading, nothing, an error.

import { h } from "./dom.js";
import { ApiError } from "./api.js";

/** Grey shapes where entries will be. @param {number} n @param {string} kind @param {string} [tag] "li" in a list. */
export function skeletons(n, kind, tag = "div") {
  return [h(tag, { class: "visually-hidden" }, "Loading"), ...Array.from({ length: n }, () => h(tag, { class: `skeleton ${kind}`, "aria-hidden": "true" }))];
}

/** A sentence in place of a list, with a way on. @param {string} title @param {string} text @param {{label: string, act: () => void}} [action] */
export function empty(title, text, action) {
  return h("div", { class: "notice" }, h("strong", {}, title), h("p", {}, text),
    action && h("button", { type: "button", class: "button", onclick: action.act }, action.label));
}

/** An error for people. @param {any} error @param {() => void} retry */
export function failure(error, retry) {
  if (error instanceof ApiError && error.isAway) {
    return empty("The server is away", "Your ratings are safe in this browser. The page goes on by itself as soon as the server answers.", { label: "Try now", act: retry });
  }
  if (error instanceof ApiError && error.status === 429) {
    return empty("One moment, please", "The server has many requests from here. Wait a little, then try again.", { label: "Try again", act: retry });
  }
  return empty("That did not work", error?.message || "The request failed.", { label: "Try again", act: retry });
}
