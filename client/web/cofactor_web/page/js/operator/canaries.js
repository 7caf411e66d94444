// The canaries beside the current version, as the server counts them: requests, errors, times, agreement.

import { fill, h } from "../core/dom.js";
import { compact, duration, percent } from "../core/format.js";
import { table } from "./table.js";

/** @typedef {{model: string, version: string, role: string, codes: Record<string, number>, latencySeconds: any}} Share */

export function canaries() {
  const rows = h("div", { class: "scroll", tabindex: 0, role: "region", "aria-labelledby": "canaries-title" });
  const node = h("div", { class: "canaries", hidden: true }, h("h3", { id: "canaries-title" }, "Canaries beside the current version"), rows,
    h("p", { class: "quiet" }, "Requests of users whose version the canary's share decides, since the server started. Times are without the wait for a thread. Same items: measured by shadow traffic."));
  /** @param {Share[]} shares @param {any[]} shadows */
  function show(shares, shadows) {
    node.hidden = !shares.length;
    const sorted = [...shares].sort((a, b) => a.model.localeCompare(b.model) || b.role.localeCompare(a.role) || a.version.localeCompare(b.version));
    fill(rows, table(["Version", "Requests", "Errors", "Error share", "50 %", "95 %", "99 %", "Same items"], sorted.map((one) => shareRow(one, shadows))));
  }
  return { node, show };
}

/** @param {Share} share @param {any[]} shadows */
function shareRow({ model, version, role, codes, latencySeconds }, shadows) {
  const requests = Object.values(codes).reduce((sum, n) => sum + n, 0);
  const errors = requests - (codes.OK ?? 0);
  const overlap = role === "canary" ? shadows.find((one) => one.model === model && one.version === version)?.meanOverlap : undefined;
  return [[`${model} / ${version} `, h("span", { class: `label ${role}` }, role)], compact(requests), compact(errors), requests ? share(errors / requests) : "–",
    duration(latencySeconds.p50), duration(latencySeconds.p95), duration(latencySeconds.p99), overlap === undefined || overlap === null ? "–" : percent(overlap)];
}

/** A share of errors, small ones too. @param {number} value */
const share = (value) => (value && value < 0.0995 ? `${(value * 100).toPrecision(2)} %` : percent(value));
