// "Map": the catalogue as the model sees it, with your ratings and recommendations; best and worst liked beside it.

import { call, isAborted, latestOnly } from "../core/api.js";
import { connection } from "../core/connection.js";
import { fill, h, icon } from "../core/dom.js";
import { plural } from "../core/format.js";
import { empty, failure, skeletons } from "../core/notice.js";
import { explain } from "../items/explanation.js";
import { genres, hueOf } from "../items/genres.js";
import { facts, titleOf } from "../items/item.js";
import { opinion } from "../items/opinion.js";
import { showSimilar } from "../items/similar.js";
import { extremes } from "./extremes.js";
import { MapCanvas } from "./map_canvas.js";
import { spreading } from "./spread.js";

const MOST_POINTS = 10_000;
const RECOMMENDED = 12;
const LEGEND_GENRES = 12;

/** @param {import("../app.js").App} app */
export function mapView(app) {
  const stage = h("div", { class: "map-stage" }, skeletons(1, "map"));
  const detail = h("div", { class: "map-detail", "aria-live": "polite" }, h("p", { class: "quiet" }, "Point at an item to see its title; choose it to rate it."));
  const legend = h("div", { class: "chips legend", role: "group", "aria-label": "Show one genre" });
  const requests = latestOnly();
  const lists = extremes(app, (item) => map?.goTo(item.itemId));
  const node = h("div", { class: "map-view" },
    h("div", { class: "section-head" }, h("div", {}, h("h1", { class: "display" }, "The catalogue"),
      h("p", { class: "quiet" }, "Items that the same people like lie close together."))),
    h("div", { class: "map-frame" }, stage, h("aside", { class: "panel map-side", "aria-label": "Chosen item" }, detail, key(app))),
    legend, lists.node);
  /** @type {MapCanvas | undefined} */
  let map;

  async function load() {
    try {
      const { points, labels } = await call("get-item-map", { model: app.model.ref, maxItems: MOST_POINTS });
      map?.close();
      const [x, y] = [spreading(points.map((/** @type {any} */ point) => point.x)), spreading(points.map((/** @type {any} */ point) => point.y))];
      const placed = (/** @type {any} */ thing) => ({ ...thing, x: x(thing.x), y: y(thing.y) });
      map = new MapCanvas(points.map(placed).map(pointOf), labels.map(placed), (point) => showDetail(app, detail, point));
      fill(stage, map.canvas, controls(map));
      showLegend(legend, map);
      mark();
    } catch (/** @type {any} */ error) {
      if (error.status === 501) fill(stage, empty("No map", "This version was exported without a map. Export it again to get one."));
      else fill(stage, failure(error, load));
    }
  }
  async function mark() {
    /** @type {Map<string, string>} */
    const marks = new Map();
    try {
      const { results } = await requests.call("recommend", { model: app.model.ref, user: app.profile.user(), pageSize: RECOMMENDED });
      for (const { itemId } of results) marks.set(itemId, "recommended");
    } catch (error) {
      if (isAborted(error)) return;
    }
    const { ratings, events } = app.profile.state.value;
    for (const itemId of [...Object.keys(ratings), ...Object.keys(events)]) marks.set(itemId, "rated");
    map?.mark(marks);
  }
  const stops = [app.profile.subscribe(() => (mark(), detail.querySelectorAll(".opinion").forEach((/** @type {any} */ control) => control.refresh()))), connection.onReturn(load), lists.leave];
  load();
  return { node, leave: () => (stops.forEach((stop) => stop()), requests.abort(), map?.close()) };
}

/** @param {any} point @returns {import("./map_canvas.js").Point} */
const pointOf = (point) => ({ ...point, ratingCount: Number(point.ratingCount) });

/** @param {MapCanvas} map */
function controls(map) {
  const button = (/** @type {"plus" | "minus" | "reset"} */ name, /** @type {string} */ label, /** @type {() => void} */ act) =>
    h("button", { type: "button", class: "icon-button", "aria-label": label, onclick: act }, icon(name));
  return [
    h("div", { class: "map-controls" }, button("plus", "Zoom in", () => map.viewport.zoomBy(1.6)), button("minus", "Zoom out", () => map.viewport.zoomBy(1 / 1.6)),
      button("reset", "Show everything", () => map.viewport.reset())),
    h("p", { class: "map-hint" }, "Drag to move. Click, then scroll to zoom."),
  ];
}

/** @param {import("../app.js").App} app */
function key(app) {
  return h("ul", { class: "map-key" },
    h("li", {}, h("span", { class: "dot rated" }), app.model.takesEvents ? "You chose it" : "You rated it"),
    h("li", {}, h("span", { class: "dot recommended" }), "Recommended to you"));
}

/** @param {HTMLElement} legend @param {MapCanvas} map */
function showLegend(legend, map) {
  fill(legend, genres().slice(0, LEGEND_GENRES).map((genre) => {
    const chip = h("button", { type: "button", class: "chip", vars: { "--hue": hueOf(genre) }, "aria-pressed": "false", onclick: () => {
      const isOn = chip.getAttribute("aria-pressed") === "false";
      for (const other of legend.children) (other.setAttribute("aria-pressed", "false"), other.classList.remove("only"));
      chip.setAttribute("aria-pressed", String(isOn));
      chip.classList.toggle("only", isOn);
      map.light(isOn ? genre : "");
    } }, h("span", { class: "dot", vars: { "--hue": hueOf(genre) } }), genre);
    return chip;
  }));
}

/** @param {import("../app.js").App} app @param {HTMLElement} detail @param {any} point */
function showDetail(app, detail, point) {
  const button = (/** @type {string} */ label, /** @type {() => void} */ act) => h("button", { type: "button", class: "link-button", "aria-label": `${label}: ${titleOf(point)}`, onclick: act }, label);
  fill(detail, h("h2", { class: "front-title" }, titleOf(point)), facts(point),
    h("p", { class: "quiet" }, plural(point.ratingCount, app.model.takesEvents ? "person chose it" : "rating", app.model.takesEvents ? "people chose it" : "ratings")),
    app.profile.isVisitor && opinion(app, point),
    h("div", { class: "card-actions" }, button("Why?", () => explain(app, point)), button("More like this", () => showSimilar(app, point))));
}
