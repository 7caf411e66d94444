// The words that describe an item.

import { h } from "../core/dom.js";
import { hueOf } from "./genres.js";

/** The title of an item; its id if it has none. @param {any} item */
export const titleOf = (item) => item.title || item.itemId;

/** The fields that the page stores of an item. @param {any} item */
export const brief = (item) => ({ itemId: item.itemId, title: item.title ?? "", genres: item.genres ?? [], releaseYear: item.releaseYear ?? 0 });

/** Genres and year. @param {any} item @param {number} [most] Number of genres to show. */
export function facts(item, most = 3) {
  const shown = (item.genres ?? []).slice(0, most);
  return h("p", { class: "facts" },
    item.releaseYear ? h("span", { class: "year" }, item.releaseYear) : null,
    shown.map((/** @type {string} */ genre) => h("span", { class: "genre", vars: { "--hue": hueOf(genre) } }, genre)));
}
