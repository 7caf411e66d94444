// "For you": say what you think of items on the left, see what you would like on the right.

import { h } from "../core/dom.js";
import { confidence } from "./confidence.js";
import { historyPanel } from "./history.js";
import { questions } from "./questions.js";
import { recommendations } from "./recommendations.js";
import { search } from "./search.js";
import { signIn } from "./sign_in.js";
import { starter } from "./starter.js";

/** @param {import("../app.js").App} app */
export function personView(app) {
  // The list hears of a change first, so that its request is on the way before the other parts are painted.
  const list = recommendations(app);
  const parts = [search(app), starter(app), confidence(app), questions(app), historyPanel(app), signIn(app), list];
  const side = h("div", { class: "person-side" }, parts.slice(0, -1).map((part) => part.node));
  const node = h("div", { class: "person" }, h("h1", { class: "visually-hidden" }, "For you"), side, list.node);
  return { node, leave: () => parts.forEach((part) => part.leave?.()) };
}
