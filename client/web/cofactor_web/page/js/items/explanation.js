// "Why?": which of a person's ratings or events moved an item up the list, and which moved it down.

import { call } from "../core/api.js";
import { openDialog } from "../core/dialog.js";
import { fill, h } from "../core/dom.js";
import { plural, predicted, rating as ratingText, signed } from "../core/format.js";
import { failure, skeletons } from "../core/notice.js";
import { titleOf } from "./item.js";
import { lookUp } from "./lookup.js";

const SHOWN = 8;

/** @param {import("../app.js").App} app @param {any} item */
export function explain(app, item) {
  const body = h("div", { class: "explanation" }, skeletons(4, "row"));
  openDialog(`Why ${titleOf(item)}?`, body);
  const load = async () => {
    try {
      const response = await call("explain", {
        model: app.model.ref, user: app.profile.user(), itemId: item.itemId, maxContributions: SHOWN, popularityPenalty: app.tuning.value.popularityPenalty,
      });
      const reasons = reasonsOf(response);
      const items = await lookUp(app.model, reasons.map((reason) => reason.itemId));
      show(app, body, response, reasons, items);
    } catch (error) {
      fill(body, failure(error, load));
    }
  };
  load();
}

/** @typedef {{itemId: string, rating: number, contribution: number, similar: number}} Reason */

/** @param {any} response @returns {Reason[]} */
function reasonsOf(response) {
  const found = response.ranking?.reasons?.length ? response.ranking.reasons : response.contributions;
  return found.map((/** @type {any} */ reason) => ({
    itemId: reason.itemId, rating: Number(reason.rating), contribution: Number(reason.contribution), similar: reason.similarRatingCount ?? 0,
  }));
}

/** @param {import("../app.js").App} app @param {HTMLElement} body @param {any} response @param {Reason[]} reasons @param {Map<string, any>} items */
function show(app, body, response, reasons, items) {
  const name = (/** @type {Reason} */ reason) => titleOf(items.get(reason.itemId) ?? { itemId: reason.itemId });
  const longest = Math.max(...reasons.map((reason) => Math.abs(reason.contribution)), 1e-9);
  fill(body,
    h("p", { class: "lead" }, summary(app, response, reasons, name)),
    reasons.length > 0 && h("ul", { class: "bars" }, reasons.map((reason) => bar(app, reason, name(reason), longest))),
    response.ranking && parts(app, response.ranking));
}

/** @param {import("../app.js").App} app @param {any} response @param {Reason[]} reasons @param {(reason: Reason) => string} name */
function summary(app, response, reasons, name) {
  const up = reasons.filter((reason) => reason.contribution > 0);
  const expectation = response.predictedRating === undefined ? "" : `Predicted rating: ${predicted(Number(response.predictedRating))}. `;
  const deeds = app.model.takesEvents ? "what you did with" : "your rating of";
  if (up.length) return `${expectation}Most of all, ${deeds} ${name(up[0])}${up.length > 1 ? ` and ${name(up[1])}` : ""} moved it up your list.`;
  if (reasons.length) return `${expectation}It is here although nothing that you said speaks for it: many others like it.`;
  return `${expectation}You have not said anything yet. It is here because many others like it.`;
}

/** @param {import("../app.js").App} app @param {Reason} reason @param {string} title @param {number} longest */
function bar(app, reason, title, longest) {
  const share = Math.abs(reason.contribution) / longest;
  const said = app.model.takesEvents ? "" : `★ ${ratingText(reason.rating)}`;
  const more = reason.similar ? ` and ${plural(reason.similar, "similar one")}` : "";
  return h("li", { class: `bar ${reason.contribution < 0 ? "down" : "up"}` },
    h("span", { class: "bar-name" }, title, h("small", {}, ` ${said}${more}`)),
    h("span", { class: "bar-track", "aria-hidden": "true" }, h("span", { class: "bar-fill", vars: { "--share": share.toFixed(3) } })),
    h("span", { class: "number" }, signed(reason.contribution)));
}

/** @param {import("../app.js").App} app @param {any} ranking */
function parts(app, ranking) {
  const fromYou = ranking.reasons.reduce((/** @type {number} */ sum, /** @type {any} */ reason) => sum + Number(reason.contribution), 0);
  const line = (/** @type {string} */ name, /** @type {number} */ value) => [h("dt", {}, name), h("dd", { class: "number" }, signed(value))];
  return h("details", { class: "parts" }, h("summary", {}, "The whole sum"),
    h("dl", {},
      line("What the item gets for everybody, popularity included", Number(ranking.itemPart)),
      line(app.model.takesEvents ? "The events above" : "The ratings above", fromYou),
      line(app.model.takesEvents ? "Your other events" : "Your other ratings", Number(ranking.otherPart)),
      Math.abs(Number(ranking.unexplained)) > 0.005 && line("What training learnt beyond that", Number(ranking.unexplained)),
      line("The same for all items", Number(ranking.userPart))),
    h("p", { class: "quiet" }, "The numbers are in the unit of the score that orders the list."));
}
