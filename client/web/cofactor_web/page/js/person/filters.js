// Sliders and filters of the list.

import { fill, h, icon } from "../core/dom.js";
import { plainTuning } from "../app.js";
import { genres, hueOf } from "../items/genres.js";

const SHOWN_GENRES = 24;
const MOST_PENALTY = 3;
const PAUSE_MS = 60;

/** @param {import("../app.js").App} app */
export function filters(app) {
  const { tuning, model } = app;
  const count = h("span", { class: "count" });
  const chips = h("div", { class: "chips", role: "group", "aria-label": "Genres: once for only these, twice for none of these" });
  const number = (/** @type {string} */ label, /** @type {"minReleaseYear" | "maxReleaseYear"} */ field) => {
    const input = h("input", { type: "number", min: 1, max: 9999, "aria-label": label, placeholder: label,
      onchange: () => tuning.set({ [field]: Number(input.value) > 0 ? Number(input.value) : null }) });
    input.show = () => (input.value = tuning.value[field] ?? "");
    return input;
  };
  const inputs = [number("From year", "minReleaseYear"), number("To year", "maxReleaseYear")];
  const known = select("Known well", [["0", "Any number of ratings"], ["5", "At least 5"], ["20", "At least 20"], ["100", "At least 100"]],
    (value) => tuning.set({ minRatingCount: Number(value) }), () => String(tuning.value.minRatingCount));
  const least = model.predictsRatings && select("Predicted", [["", "Any predicted rating"], ...model.steps.slice(1).map((step) => /** @type {[string, string]} */ ([String(step), `At least ${step}`]))],
    (value) => tuning.set({ minPredictedRating: value ? Number(value) : null }), () => String(tuning.value.minPredictedRating ?? ""));
  const clear = h("button", { type: "button", class: "link-button", onclick: () => tuning.set(plainTuning()) }, "Remove all");
  const sliders = [
    slider("Diversity", "alike", "varied", 1, () => tuning.value.diversity, (diversity) => tuning.set({ diversity })),
    slider("Popularity", "well known", "hidden gems", MOST_PENALTY, () => tuning.value.popularityPenalty, (popularityPenalty) => tuning.set({ popularityPenalty })),
  ];
  const node = h("div", { class: "tuning" },
    h("div", { class: "sliders" }, sliders),
    h("details", { class: "filters" }, h("summary", {}, icon("filter"), h("span", { class: "only-wide" }, "Filters"), h("span", { class: "only-phone" }, "Tune and filter"), count),
      h("div", { class: "filter-body" }, chips, h("div", { class: "filter-fields" }, inputs, known, least, clear))));

  function show() {
    const value = tuning.value;
    const n = value.anyGenres.length + value.excludedGenres.length + Number(value.minReleaseYear !== null) + Number(value.maxReleaseYear !== null)
      + Number(value.minRatingCount > 0) + Number(value.minPredictedRating !== null);
    count.textContent = n ? String(n) : "";
    clear.hidden = n === 0;
    fill(chips, genres().slice(0, SHOWN_GENRES).map((genre) => chip(app, genre)));
    for (const part of [...inputs, known, least, ...sliders]) if (part) part.show();
  }
  const stop = tuning.subscribe(() => {
    const focused = /** @type {HTMLElement} */ (document.activeElement)?.dataset?.genre;
    show();
    if (focused) /** @type {HTMLElement} */ (chips.querySelector(`[data-genre="${CSS.escape(focused)}"]`))?.focus();
  });
  show();
  return { node, leave: stop };
}

/** A genre that can be wanted, excluded, or neither. @param {import("../app.js").App} app @param {string} genre */
function chip(app, genre) {
  const { anyGenres, excludedGenres } = app.tuning.value;
  const state = anyGenres.includes(genre) ? "only" : excludedGenres.includes(genre) ? "not" : "";
  const without = (/** @type {string[]} */ list) => list.filter((other) => other !== genre);
  const next = () => app.tuning.set({
    anyGenres: state === "" ? [...anyGenres, genre] : without(anyGenres),
    excludedGenres: state === "only" ? [...excludedGenres, genre] : without(excludedGenres),
  });
  const meaning = { only: "only these", not: "none of these", "": "no filter" }[state];
  return h("button", { type: "button", class: `chip ${state}`, data: { genre }, vars: { "--hue": hueOf(genre) }, "aria-label": `${genre}: ${meaning}`, onclick: next },
    state === "not" ? `not ${genre}` : genre);
}

/** @param {string} label @param {[string, string][]} options @param {(value: string) => void} set @param {() => string} get */
function select(label, options, set, get) {
  const node = h("select", { "aria-label": label, onchange: () => set(node.value) }, options.map(([value, text]) => h("option", { value }, text)));
  node.show = () => (node.value = get());
  return node;
}

/** @param {string} label @param {string} low @param {string} high @param {number} max @param {() => number} get @param {(value: number) => void} set */
function slider(label, low, high, max, get, set) {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const input = h("input", { type: "range", min: 0, max, step: max / 20, "aria-label": `${label}: from ${low} to ${high}`, oninput: () => {
    paint();
    clearTimeout(timer);
    timer = setTimeout(() => set(Number(input.value)), PAUSE_MS);
  } });
  const paint = () => input.style.setProperty("--share", String(Number(input.value) / max));
  const node = h("label", { class: "slider" }, h("span", { class: "slider-name" }, label),
    h("span", { class: "slider-ends", "aria-hidden": "true" }, h("span", {}, low), h("span", {}, high)), input);
  node.show = () => {
    input.value = String(get());
    paint();
  };
  return node;
}
