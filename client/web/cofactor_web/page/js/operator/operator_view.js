// "Operator": versions, canaries, the same list from two versions, live traffic. Read-only without the admin port.

import { connection } from "../core/connection.js";
import { h } from "../core/dom.js";
import { createStore } from "../core/store.js";
import { comparison } from "./comparison.js";
import { tokenForm } from "./token.js";
import { traffic } from "./traffic.js";
import { versions } from "./versions.js";

/** @param {import("../app.js").App} app */
export function operatorView(app) {
  /** @type {Desk} */
  const desk = createStore({ token: "", models: [], versions: [] });
  const state = h("p", { class: "quiet", role: "status" });
  const parts = [tokenForm(desk), versions(app, desk), traffic(desk), comparison(app, desk)];
  const node = h("div", { class: "operator" },
    h("div", { class: "section-head" }, h("div", {}, h("h1", { class: "display" }, "Operator"), state)),
    parts.map((part) => part.node));
  const show = () => {
    const { operator, metrics } = connection.value.health;
    state.textContent = operator ? "The admin port is connected: labels can be moved." : "Read-only: this gateway has no admin port (--admin-target).";
    if (!metrics) state.textContent += " It does not read the server's metrics (--metrics-url).";
  };
  const stop = connection.subscribe(show);
  show();
  return { node, leave: () => (stop(), parts.forEach((part) => part.leave())) };
}

/**
 * What the parts of the view share.
 * @typedef {ReturnType<typeof createStore<{token: string, models: any[], versions: {name: string, version: string, labels: string[], isCurrent: boolean}[]}>>} Desk
 */
