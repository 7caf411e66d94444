// Live throughput and latency, from two readings of the server's counters; and how shadow versions agree.

import { readMetrics } from "../core/api.js";
import { connection } from "../core/connection.js";
import { fill, h, svg } from "../core/dom.js";
import { compact, duration, percent } from "../core/format.js";
import { canaries } from "./canaries.js";
import { table } from "./table.js";

const POLL_MS = 2000;
const KEPT = 60;
const [WIDTH, HEIGHT] = [240, 44];

/** @param {import("./operator_view.js").Desk} desk */
export function traffic(desk) {
  const note = h("p", { class: "quiet", role: "status" });
  const tiles = h("div", { class: "tiles" });
  const methods = h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Calls by method" });
  const split = canaries();
  const shadow = h("div", {});
  const node = h("section", { class: "panel wide", "aria-labelledby": "traffic-title" }, h("h2", { id: "traffic-title" }, "Traffic"), note, tiles, methods, split.node, shadow);
  /** @type {any} */
  let before;
  /** @type {number[]} */
  const rates = [];
  /** @type {number[]} */
  const errorRates = [];

  async function poll() {
    node.hidden = !connection.value.health.metrics;
    if (node.hidden || document.hidden) return;
    try {
      const now = await readMetrics(desk.value.token);
      note.textContent = "";
      const seconds = before ? now.takenAt - before.takenAt : 0;
      if (before && seconds > 0) {
        push(rates, (total(now) - total(before)) / seconds);
        push(errorRates, (failed(now) - failed(before)) / seconds);
      }
      show(now, before, seconds);
      before = now;
    } catch (/** @type {any} */ error) {
      note.textContent = error.status === 401 || error.status === 403 ? "The metrics want the admin token." : `No metrics: ${error.message}`;
    }
  }
  /** @param {any} now @param {any} last @param {number} seconds */
  function show(now, last, seconds) {
    const main = now.methods.find((/** @type {any} */ method) => method.method.split("/").pop() === "Recommend");
    fill(tiles,
      tile("Calls per second", rates.length ? (rates.at(-1) ?? 0).toFixed(1) : "–", plot(rates)),
      tile("Errors per second", errorRates.length ? (errorRates.at(-1) ?? 0).toFixed(1) : "–", plot(errorRates)),
      tile("Recommend, median", duration(main?.latencySeconds.p50), h("p", { class: "quiet" }, `95 %: ${duration(main?.latencySeconds.p95)} · 99 %: ${duration(main?.latencySeconds.p99)}`)),
      tile("Waiting calls", compact(now.queueDepth ?? 0), h("p", { class: "quiet" }, `${now.workers ?? 1} ${now.workers > 1 ? "workers" : "worker"} · ${megabytes(now.memoryBytes)} · cache hits ${hitShare(now.cache)}`)));
    fill(methods, table(["Method", "Calls", "Failed", "Per second", "50 %", "95 %", "99 %"],
      now.methods.map((/** @type {any} */ method) => methodRow(method, last?.methods.find((/** @type {any} */ other) => other.method === method.method), seconds))));
    split.show(now.canaries, now.shadow);
    fill(shadow, now.shadow.length > 0 && shadowTable(now.shadow));
  }
  const timer = setInterval(poll, POLL_MS);
  const stops = [connection.subscribe(() => node.hidden !== !connection.value.health.metrics && poll())];
  poll();
  return { node, leave: () => (clearInterval(timer), stops.forEach((stop) => stop())) };
}

/** @param {number[]} values @param {number} value */
function push(values, value) {
  values.push(Math.max(0, value));
  if (values.length > KEPT) values.shift();
}

/** @param {any} method */
const calls = (method) => Object.values(method.codes).reduce((sum, n) => sum + Number(n), 0);
/** @param {any} method */
const failures = (method) => calls(method) - Number(method.codes.OK ?? 0);
/** @param {any} digest */
const total = (digest) => digest.methods.reduce((/** @type {number} */ sum, /** @type {any} */ method) => sum + calls(method), 0);
/** @param {any} digest */
const failed = (digest) => digest.methods.reduce((/** @type {number} */ sum, /** @type {any} */ method) => sum + failures(method), 0);

/** @param {number | undefined} bytes */
const megabytes = (bytes) => (bytes ? `${Math.round(bytes / 1e6)} MB` : "–");

/** @param {{hit?: number, miss?: number} | undefined} cache */
function hitShare(cache) {
  const all = Number(cache?.hit ?? 0) + Number(cache?.miss ?? 0);
  return all ? percent(Number(cache?.hit ?? 0) / all) : "–";
}

/** @param {string} name @param {string} value @param {any} below */
const tile = (name, value, below) => h("div", { class: "tile" }, h("p", { class: "tile-name" }, name), h("p", { class: "tile-value number" }, value), below);

/** @param {number[]} values */
function plot(values) {
  const most = Math.max(...values, 1e-9);
  const points = values.map((value, i) => `${((i + KEPT - values.length) * WIDTH) / (KEPT - 1)},${HEIGHT - 3 - ((HEIGHT - 6) * value) / most}`);
  return svg("svg", { class: "plot", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" },
    points.length > 1 && svg("polygon", { class: "plot-area", points: `${points.join(" ")} ${WIDTH},${HEIGHT} ${points[0].split(",")[0]},${HEIGHT}` }),
    svg("polyline", { class: "plot-line", points: points.join(" ") }));
}

/** @param {any} method @param {any} last @param {number} seconds */
function methodRow(method, last, seconds) {
  const rate = last && seconds > 0 ? (calls(method) - calls(last)) / seconds : undefined;
  const { p50, p95, p99 } = method.latencySeconds;
  return [method.method.split("/").pop(), compact(calls(method)), compact(failures(method)), rate === undefined ? "–" : rate.toFixed(1), duration(p50), duration(p95), duration(p99)];
}

/** @param {any[]} rows */
function shadowTable(rows) {
  return [h("h3", {}, "Shadow versions"), table(["Version", "Requests", "Failed", "Dropped", "95 %", "Same items"],
    rows.map(({ model, version, outcomes, latencySeconds, meanOverlap }) => [`${model} / ${version}`,
      compact(outcomes.compared ?? 0), compact(outcomes.failed ?? 0), compact(outcomes.dropped ?? 0), duration(latencySeconds.p95), meanOverlap === null ? "–" : percent(meanOverlap)]))];
}
