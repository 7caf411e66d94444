// Start the page: load the model, then show the view that the address names.

import { createApp } from "./app.js";
import { call } from "./core/api.js";
import { connection } from "./core/connection.js";
import { fill, h } from "./core/dom.js";
import { loadModel, modelNames } from "./core/model.js";
import { failure, skeletons } from "./core/notice.js";
import { learnGenres } from "./items/genres.js";
import { remember } from "./items/lookup.js";
import { mapView } from "./explore/map_view.js";
import { tastesView } from "./explore/tastes_view.js";
import { operatorView } from "./operator/operator_view.js";
import { personView } from "./person/person_view.js";
import { showShell } from "./shell.js";

/** @type {Record<string, {title: string, make: (app: import("./app.js").App) => {node: any, leave?: () => void}}>} */
const VIEWS = {
  "for-you": { title: "For you", make: personView },
  map: { title: "Map", make: mapView },
  tastes: { title: "Tastes", make: tastesView },
  operator: { title: "Operator", make: operatorView },
};
const main = /** @type {HTMLElement} */ (document.getElementById("main"));
/** @type {(() => void) | undefined} */
let leave;

async function start() {
  fill(main, h("div", { class: "start" }, skeletons(3, "row")));
  try {
    const name = new URLSearchParams(location.search).get("model") ?? "";
    const model = await loadModel(name);
    const app = createApp(model);
    const [names, most] = await Promise.all([
      modelNames(),
      call("list-top-items", { model: model.ref, order: "ORDER_MOST_RATED", pageSize: model.pageLimit }),
      connection.check(),
    ]);
    learnGenres(most.items);
    remember(most.items);
    showShell(app, names);
    addEventListener("hashchange", () => show(app, true));
    show(app, false);
  } catch (error) {
    const stop = connection.onReturn(again);
    fill(main, h("div", { class: "start" }, failure(error, again)));
    function again() {
      stop();
      start();
    }
  }
}

/** @param {import("./app.js").App} app @param {boolean} moveFocus */
function show(app, moveFocus) {
  leave?.();
  const name = location.hash.replace(/^#\//, "").split("?")[0];
  const view = VIEWS[name] ?? VIEWS["for-you"];
  const { node, leave: onLeave } = view.make(app);
  leave = onLeave;
  document.title = `${view.title} · Cofactor`;
  for (const link of document.querySelectorAll(".tabs a")) {
    if (link.getAttribute("href") === `#/${VIEWS[name] ? name : "for-you"}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  fill(main, node);
  scrollTo(0, 0);
  if (moveFocus) main.focus({ preventScroll: true });
}

connection.subscribe(({ reach }) => document.documentElement.toggleAttribute("data-away", reach === "away"));
start();
