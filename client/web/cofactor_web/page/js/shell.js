// What surrounds every view: the model, the state of the connection, the theme, the keys.

import { connection } from "./core/connection.js";
import { fill, h, icon } from "./core/dom.js";
import { openDialog } from "./core/dialog.js";
import { toast } from "./core/toast.js";

/** @param {import("./app.js").App} app @param {string[]} names Names of all models. */
export function showShell(app, names) {
  showModel(app, names);
  connection.onReturn(() => toast("The server is back"));
  addEventListener("keydown", (event) => onKey(app, event));
  // The part of the address after # names the view, so the link must not change it.
  document.querySelector(".skip-link")?.addEventListener("click", (event) => {
    event.preventDefault();
    document.getElementById("main")?.focus();
  });
}

/** @param {import("./app.js").App} app @param {string[]} names */
function showModel(app, names) {
  const place = /** @type {HTMLElement} */ (document.getElementById("model-name"));
  const { dataset, version } = app.model.description;
  if (names.length < 2) return fill(place, h("span", { title: `Model ${app.model.name}, version ${version}` }, dataset.replace(/\.(csv|tsv|jsonl|parquet)(\.gz|\.zip)?$/, "") || app.model.name));
  const select = h("select", { "aria-label": "Model", onchange: () => (location.search = `?model=${encodeURIComponent(select.value)}`) },
    names.map((name) => h("option", { value: name, selected: name === app.model.name }, name)));
  select.value = app.model.name;
  fill(place, select);
}

/** @param {import("./app.js").App} app @param {KeyboardEvent} event */
function onKey(app, event) {
  const at = /** @type {HTMLElement} */ (event.target);
  if (event.ctrlKey || event.metaKey || event.altKey || at.closest("input, select, textarea, dialog")) return;
  if (event.key === "u") app.undo();
  else if (event.key === "?") showKeys();
  else if (event.key === "/") document.getElementById("search")?.focus();
  else return;
  event.preventDefault();
}

function showKeys() {
  const keys = [["/", "Search"], ["1 … 5", "Rate the item in front, or the card in focus"], ["n", "Not seen"], ["u", "Undo"],
    ["← →", "Move along the stars"], ["+ − and arrows", "Zoom and move the map"], ["?", "This list"]];
  openDialog("Keys", h("dl", { class: "keys" }, keys.map(([key, meaning]) => [h("dt", {}, h("kbd", {}, key)), h("dd", {}, meaning)])));
}

/** Show the state of the connection in the header and, while the server is away, above the page. */
function showConnection() {
  const place = /** @type {HTMLElement} */ (document.getElementById("connection"));
  const banner = /** @type {HTMLElement} */ (document.getElementById("banner"));
  let shown = "";
  connection.subscribe(({ reach, secondsToRetry, limitedSeconds }) => {
    const state = limitedSeconds ? "limited" : reach;
    place.dataset.reach = state;
    const words = { connecting: "Connecting", online: "Connected", away: "Server away", limited: "Slowed down" }[state];
    if (place.textContent !== words) fill(place, h("span", {}, words));
    banner.hidden = state === "online" || state === "connecting";
    if (state !== shown) fillBanner(banner, state, limitedSeconds);
    shown = state;
    const seconds = banner.querySelector(".seconds");
    if (seconds) seconds.textContent = String(secondsToRetry);
  });
}

/** @param {HTMLElement} banner @param {string} state @param {number} limitedSeconds */
function fillBanner(banner, state, limitedSeconds) {
  if (state === "away") {
    fill(banner, h("span", {}, "The server is away. Your ratings are safe; the page goes on when it is back."),
      h("span", { "aria-hidden": "true" }, " Next try in ", h("span", { class: "seconds number" }), " s. "),
      h("button", { type: "button", class: "button small", onclick: () => connection.check() }, "Try now"));
  } else if (state === "limited") {
    fill(banner, `That was quick! The server asks for a pause of ${Math.ceil(limitedSeconds)} s; then the page goes on by itself.`);
  }
}

/** Let a button change the theme, and remember the choice. */
function showTheme() {
  const button = /** @type {HTMLElement} */ (document.getElementById("theme"));
  const isDark = () => (document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const paint = () => fill(button, icon(isDark() ? "sun" : "moon"));
  button.addEventListener("click", () => {
    const theme = isDark() ? "light" : "dark";
    document.documentElement.dataset.theme = theme;
    try {
      localStorage.setItem("cofactor:theme", theme);
    } catch {
      // Storage is blocked: the choice holds until the page is closed.
    }
    paint();
    dispatchEvent(new Event("themechange"));
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => (paint(), dispatchEvent(new Event("themechange"))));
  paint();
}

showTheme();
showConnection();
