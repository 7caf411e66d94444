// The versions of every model, with labels, state, age, provider and metrics; labels move through the admin port.

import { call, callAdmin } from "../core/api.js";
import { connection } from "../core/connection.js";
import { openDialog } from "../core/dialog.js";
import { fill, h } from "../core/dom.js";
import { age, compact, duration } from "../core/format.js";
import { failure, skeletons } from "../core/notice.js";
import { toast } from "../core/toast.js";

const REFRESH_MS = 5000;
const SHOWN_METRICS = ["rmse", "mae", "ndcg@10", "recall@10", "coverage@10"];

/** @param {import("../app.js").App} app @param {import("./operator_view.js").Desk} desk */
export function versions(app, desk) {
  const note = h("p", { class: "quiet", role: "status" });
  const body = h("div", { class: "version-list" }, skeletons(2, "row"));
  const node = h("section", { class: "panel wide", "aria-labelledby": "versions-title" }, h("h2", { id: "versions-title" }, "Versions"), note, body);
  let shown = "";

  async function load() {
    try {
      const { models } = await call("list-models", { pageSize: Math.min(100, app.model.pageLimit) });
      const admin = await adminVersions();
      const merged = merge(models, admin);
      desk.set({ models: admin ?? [], versions: merged.filter((one) => one.model?.state === "STATE_READY").map(({ name, version, labels, isCurrent }) => ({ name, version, labels, isCurrent })) });
      const text = JSON.stringify([merged, Boolean(admin)]);
      if (text === shown && Date.now() % 60_000 > REFRESH_MS) return;
      shown = text;
      fill(body, merged.map((one) => versionCard(one, Boolean(admin), move)));
    } catch (error) {
      shown = "";
      fill(body, failure(error, load));
    }
  }
  async function adminVersions() {
    if (!connection.value.health.operator) return undefined;
    try {
      const { models } = await callAdmin("list-versions", {}, desk.value.token);
      note.textContent = "";
      return models;
    } catch (/** @type {any} */ error) {
      note.textContent = error.status === 401 || error.status === 403 ? "The admin port wants a token: without a valid one, this is read-only." : error.message;
      return undefined;
    }
  }
  /** @param {"promote" | "rollback"} rpc @param {object} request @param {string} done */
  async function move(rpc, request, done) {
    try {
      await callAdmin(rpc, request, desk.value.token);
      await callAdmin("reload", {}, desk.value.token);
      toast(done);
    } catch (/** @type {any} */ error) {
      note.textContent = error.message;
    }
    load();
  }
  let token = desk.value.token;
  const timer = setInterval(() => document.hidden || load(), REFRESH_MS);
  const stops = [connection.onReturn(load), desk.subscribe((value) => value.token !== token && ((token = value.token), load()))];
  load();
  return { node, leave: () => (clearInterval(timer), stops.forEach((stop) => stop())) };
}

/**
 * @typedef {object} Shown
 * @property {string} name @property {string} version @property {string[]} labels @property {boolean} isCurrent
 * @property {any} model What the public API says; unset for a version that is not loaded.
 * @property {any} seen What the admin port says. @property {any} policy
 */

/** Join what the public API and the admin port say of each version. @param {any[]} models @param {any[] | undefined} admin */
function merge(models, admin) {
  /** @type {Map<string, Shown>} */
  const found = new Map(models.map((model) => [`${model.name}/${model.version}`, { name: model.name, version: model.version, labels: model.labels, isCurrent: false, model, seen: undefined, policy: undefined }]));
  for (const { name, versions: seen, policy } of admin ?? []) {
    for (const one of seen) {
      const before = found.get(`${name}/${one.version}`);
      found.set(`${name}/${one.version}`, { name, version: one.version, labels: one.labels, isCurrent: one.isCurrent, model: before?.model, seen: one, policy });
    }
  }
  return [...found.values()].sort((a, b) => a.name.localeCompare(b.name) || b.version.localeCompare(a.version, "en", { numeric: true }));
}

/** @param {Shown} one @param {boolean} canMove @param {(rpc: "promote" | "rollback", request: object, done: string) => void} move */
function versionCard(one, canMove, move) {
  const { model, seen, policy } = one;
  const refused = seen?.state === "STATE_REFUSED" || model?.state === "STATE_FAILED";
  const state = refused ? "refused" : model ? "ready" : "not loaded";
  const share = one.labels.map((/** @type {string} */ label) => policy?.canaryPercent?.[label] && `${policy.canaryPercent[label]} % of users`).filter(Boolean);
  return h("article", { class: `version ${state.replace(" ", "-")}`, data: { version: one.version } },
    h("div", { class: "version-head" },
      h("h3", {}, h("span", { class: "quiet" }, `${one.name} / `), one.version),
      h("span", { class: `state ${state.replace(" ", "-")}` }, state),
      one.isCurrent && h("span", { class: "label current" }, "current"),
      one.labels.map((/** @type {string} */ label) => h("span", { class: "label" }, label)), share.map((text) => h("span", { class: "quiet" }, text))),
    refused && h("p", { class: "problem" }, seen?.stateMessage || model?.stateMessage),
    model && !refused && details(model),
    h("div", { class: "card-actions" },
      model && !refused && h("button", { type: "button", class: "link-button", "aria-label": `All metrics of version ${one.version}`, onclick: () => showMetrics(model) }, "All metrics"),
      canMove && !refused && actions(one, move)));
}

/** @param {any} model */
function details(model) {
  const metrics = SHOWN_METRICS.filter((name) => name in model.metrics);
  const line = (/** @type {string} */ name, /** @type {any} */ value) => h("div", {}, h("dt", {}, name), h("dd", {}, value));
  return h("dl", { class: "facts-grid" },
    line("Architecture", `${model.architecture}, ${model.objective}`), line("Catalogue", `${compact(model.itemCount)} items, ${compact(model.userCount)} users`),
    line("Trained", age(model.trainTime)), line("Loaded", age(model.loadTime)), line("Provider", providers(model)),
    metrics.map((name) => line(name, h("span", { class: "number" }, Number(model.metrics[name]).toFixed(3)))));
}

/** The provider of each graph, or of all. @param {any} model */
function providers(model) {
  const short = (/** @type {string} */ name) => name.replace("ExecutionProvider", "");
  const placed = model.placements.flatMap((/** @type {any} */ placement) => {
    const names = [...new Set(placement.trials.map((/** @type {any} */ trial) => short(trial.executionProvider)))];
    return names.length ? [`${placement.graph}: ${names.join(", ")}`] : [`${placement.graph}: CPU`];
  });
  return placed.length ? placed.join("; ") : `${model.executionProviders.map(short).join(", ")}, all graphs`;
}

/** @param {any} model */
function showMetrics(model) {
  const rows = Object.entries(model.metrics).sort(([a], [b]) => a.localeCompare(b, "en", { numeric: true }));
  openDialog(`Version ${model.version}`, [
    h("p", { class: "quiet" }, model.metricsProtocol),
    h("table", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Metric"), h("th", { scope: "col", class: "number" }, "Value"))),
      h("tbody", {}, rows.map(([name, value]) => h("tr", {}, h("td", {}, name), h("td", { class: "number" }, Number(value).toFixed(4)))))),
    model.placements.length > 0 && h("table", {}, h("thead", {}, h("tr", {}, ["Graph", "Size", "Provider", "CPU", "Device"].map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, model.placements.flatMap((/** @type {any} */ placement) => placement.trials.map((/** @type {any} */ trial) => h("tr", {},
        h("td", {}, placement.graph), h("td", {}, trial.size), h("td", {}, trial.executionProvider), h("td", {}, duration(trial.cpuMs / 1000)), h("td", {}, duration(trial.deviceMs / 1000))))))),
  ], `${model.name} · ${model.dataset}`);
}

/** @param {Shown} one @param {(rpc: "promote" | "rollback", request: object, done: string) => void} move */
function actions(one, move) {
  const labels = new Set(["stable", "canary", ...Object.keys(one.policy?.labels ?? {})]);
  const promote = [...labels].filter((label) => !one.labels.includes(label)).map((label) => ask(`Promote to ${label}`, one,
    `Put the label "${label}" on version ${one.version} of ${one.name}?`,
    () => move("promote", { name: one.name, version: one.version, label }, `${one.version} is ${label}`)));
  const back = one.labels.filter((/** @type {string} */ label) => one.policy?.previousLabels?.[label]).map((/** @type {string} */ label) => ask(`Roll back ${label}`, one,
    `Put the label "${label}" back on version ${one.policy.previousLabels[label]} of ${one.name}?`,
    () => move("rollback", { name: one.name, label }, `${label} is back on ${one.policy.previousLabels[label]}`)));
  return [...promote, ...back];
}

/** A button that asks before it acts. @param {string} label @param {Shown} one @param {string} question @param {() => void} act */
function ask(label, one, question, act) {
  return h("button", { type: "button", class: "button small", "aria-label": `${label}: version ${one.version}`, onclick: () => {
    const dialog = openDialog(label, [h("p", {}, question), h("p", { class: "quiet" }, "All replicas of this repository follow at their next poll."),
      h("div", { class: "card-actions" }, h("button", { type: "button", class: "button primary", onclick: () => (dialog.close(), act()) }, label))]);
  } }, label);
}
