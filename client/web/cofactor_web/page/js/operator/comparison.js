// Two versions side by side: the list of one user from both, and a trial of both on sample profiles.

import { call } from "../core/api.js";
import { fill, h, icon } from "../core/dom.js";
import { duration, percent, plural, predicted } from "../core/format.js";
import { empty, failure } from "../core/notice.js";
import { row } from "../items/row.js";
import { table } from "./table.js";
import { runTrial } from "./trial.js";

const SHOWN = 10;

/** @param {import("../app.js").App} app @param {import("./operator_view.js").Desk} desk */
export function comparison(app, desk) {
  const selects = ["First version", "Second version"].map((label) => h("select", { "aria-label": label, onchange: () => (compare(), fill(trial)) }));
  const user = h("input", { "aria-label": "User id; empty: you", placeholder: "User id (empty: you)", autocomplete: "off", maxlength: 256 });
  const form = h("form", { class: "inline-form", onsubmit: (/** @type {Event} */ event) => (event.preventDefault(), compare()) }, selects[0], selects[1], user, h("button", { class: "button" }, "Compare"));
  const summary = h("p", { class: "quiet", role: "status" });
  const trial = h("div", {});
  const lists = h("div", { class: "two" });
  const tryButton = h("button", { type: "button", class: "button", onclick: tryBoth }, "Try both on sample profiles");
  const body = h("div", {}, form, summary, lists, h("div", { class: "trial" }, tryButton, trial));
  const none = empty("One version only", "Load a second one, by a label such as \"canary\", to see both side by side.");
  const node = h("section", { class: "panel wide", "aria-labelledby": "comparison-title" }, h("h2", { id: "comparison-title" }, "Two versions"), body, none);
  let known = "";

  function showVersions() {
    const { versions } = desk.value;
    const text = JSON.stringify(versions);
    if (text === known) return;
    known = text;
    none.hidden = versions.length > 1;
    body.hidden = versions.length < 2;
    if (versions.length < 2) return;
    const chosen = selects.map((select) => select.value);
    const ours = versions.filter((one) => one.name === app.model.name);
    const pool = ours.length > 1 ? ours : versions;
    const current = pool.find((one) => one.isCurrent || one.labels.includes("stable")) ?? pool[0];
    const other = pool.find((one) => one !== current && one.labels.includes("canary")) ?? pool.find((one) => one !== current) ?? current;
    selects.forEach((select, i) => {
      fill(select, versions.map((one) => h("option", { value: `${one.name}/${one.version}` }, nameOf(one))));
      const fallback = i ? other : current;
      select.value = versions.some((one) => `${one.name}/${one.version}` === chosen[i]) ? chosen[i] : `${fallback.name}/${fallback.version}`;
    });
    compare();
  }
  const refs = () => selects.map((select) => refOf(select.value));

  async function compare() {
    const id = user.value.trim();
    try {
      const responses = await Promise.all(refs().map((model) => call("recommend", { model, user: id ? { userId: id } : app.profile.user(), pageSize: SHOWN, returnItems: true })));
      const ids = responses.map(({ results }) => results.map((/** @type {any} */ result) => result.itemId));
      const common = new Set(ids[0].filter((/** @type {string} */ one) => ids[1].includes(one)));
      summary.textContent = `${plural(common.size, "item")} of ${SHOWN} in both lists`;
      fill(lists, responses.map(({ results, model }) => h("div", {}, h("h3", {}, `${model.name} / ${model.version}`),
        h("ol", { class: "rows ranked" }, results.map((/** @type {any} */ result) => comparedRow(result, common))))));
    } catch (error) {
      summary.textContent = "";
      fill(lists, failure(error, compare));
    }
  }
  async function tryBoth() {
    tryButton.disabled = true;
    try {
      fill(trial, trialTable(selects.map((select) => select.value), await runTrial(app, refs())));
    } catch (error) {
      fill(trial, failure(error, tryBoth));
    }
    tryButton.disabled = false;
  }
  const stop = desk.subscribe(showVersions);
  body.hidden = true;
  showVersions();
  return { node, leave: stop };
}

/** @param {string} value "name/version" */
function refOf(value) {
  const [name, version] = value.split("/");
  return { name, version };
}

/** @param {{name: string, version: string, labels: string[]}} one */
const nameOf = (one) => `${one.name} / ${one.version}${one.labels.length ? ` (${one.labels.join(", ")})` : ""}`;

/** @param {any} result @param {Set<string>} common */
function comparedRow(result, common) {
  const node = row(result.item, { side: result.predictedRating !== undefined && h("span", { class: "card-score" }, icon("star"), predicted(Number(result.predictedRating))),
    note: common.has(result.itemId) ? undefined : "Only here" });
  node.classList.toggle("only-here", !common.has(result.itemId));
  return node;
}

/** @param {string[]} names @param {import("./trial.js").Trial} trial */
function trialTable(names, trial) {
  return [table(["Version", "Requests", "Errors", "50 %", "95 %"], trial.versions.map((one, i) => [names[i], one.requests, one.errors, duration(one.p50), duration(one.p95)])),
  h("p", { class: "quiet" }, `Agreement: ${trial.overlap === undefined ? "–" : percent(trial.overlap)} of the first ${SHOWN} items, over ${plural(trial.profiles, "sample profile")} (fans of each genre, and you). Times are those of this browser.`)];
}
