// The list of recommendations: asked for again at every change, painted as soon as it is there.

import { call, isAborted, latestOnly } from "../core/api.js";
import { connection } from "../core/connection.js";
import { fill, h, keyed } from "../core/dom.js";
import { plural } from "../core/format.js";
import { empty, failure, skeletons } from "../core/notice.js";
import { plainTuning } from "../app.js";
import { card } from "../items/card.js";
import { remember } from "../items/lookup.js";
import { filters } from "./filters.js";

const FIRST_PAGE = 12;

/** @param {import("../app.js").App} app */
export function recommendations(app) {
  const { profile, tuning } = app;
  const requests = latestOnly();
  const note = h("p", { class: "quiet", role: "status" });
  const list = h("ol", { class: "cards", "aria-busy": "true" }, skeletons(6, "card", "li"));
  const below = h("div", { class: "below-cards" });
  const panel = filters(app);
  const node = h("section", { class: "recommendations", "aria-labelledby": "recommended-title" },
    h("div", { class: "section-head" }, h("div", {}, h("h2", { id: "recommended-title", class: "display" }, "For you"), note)), panel.node, list, below);
  /** @type {any[]} */
  let results = [];
  let isFirst = true;
  let visitor = profile.state.value.userId;

  /** @param {string} pageToken */
  async function load(pageToken = "") {
    list.setAttribute("aria-busy", "true");
    try {
      const response = await requests.call("recommend", requestOf(app, pageToken));
      remember(response.results.map((/** @type {any} */ result) => result.item));
      results = pageToken ? [...results, ...response.results] : response.results;
      show(response);
    } catch (error) {
      if (isAborted(error)) return;
      if (await dropUnknown(app, error)) return;
      // While the server is away, the last list stays; the banner says what is going on.
      if (!results.length || !(/** @type {any} */ (error).isAway)) {
        isFirst = true;
        fill(list);
        fill(below, failure(error, load));
      }
    }
    list.setAttribute("aria-busy", "false");
  }
  /** @param {any} response */
  function show(response) {
    if (isFirst || visitor !== profile.state.value.userId) keyed(list, [], String, () => null), fill(list);
    visitor = profile.state.value.userId;
    const focus = focusedPlace(list);
    isFirst = false;
    keyed(list, results.map((result, i) => ({ result, place: i + 1 })), ({ result }) => result.itemId, (place) => {
      const made = card(app, place);
      made.item = place.result.item;
      return made;
    });
    keepFocus(list, focus);
    note.textContent = basis(app, response);
    fill(below, results.length ? more(response.nextPageToken, load) : nothing(app), hiddenNote(app));
    node.dataset.painted = String(Number(node.dataset.painted ?? 0) + 1);
  }
  const again = () => load();
  const refresh = () => {
    load();
    for (const child of list.children) /** @type {any} */ (child).refresh?.();
  };
  const stops = [profile.subscribe(refresh), tuning.subscribe(again), connection.onReturn(again), panel.leave];
  load();
  return { node, leave: () => (stops.forEach((stop) => stop()), requests.abort()) };
}

/** @param {import("../app.js").App} app @param {string} pageToken */
function requestOf(app, pageToken) {
  const { diversity, popularityPenalty, minPredictedRating, ...filter } = app.tuning.value;
  return {
    model: app.model.ref, user: app.profile.user(), pageSize: Math.min(FIRST_PAGE, app.model.pageLimit), pageToken, returnItems: true, diversity, popularityPenalty,
    minPredictedRating: minPredictedRating ?? undefined,
    filter: {
      ...filter,
      minReleaseYear: filter.minReleaseYear ?? undefined,
      maxReleaseYear: filter.maxReleaseYear ?? undefined,
      excludedItemIds: Object.keys(app.profile.state.value.hidden),
    },
  };
}

/** One sentence: what the list is based on. @param {import("../app.js").App} app @param {any} response */
function basis(app, response) {
  const { userId } = app.profile.state.value;
  if (userId) return `What ${userId} would get`;
  const n = app.profile.size;
  if (!n) return app.model.takesEvents ? "Popular with everybody. Choose something, and the list becomes yours." : "Liked by most. Rate something, and the list becomes yours.";
  return `From ${plural(n, app.model.takesEvents ? "item that you chose" : "rating", app.model.takesEvents ? "items that you chose" : "ratings")} · model ${response.model.name}, version ${response.model.version}`;
}

/** @param {string} token @param {(token: string) => void} load */
function more(token, load) {
  return token && h("button", { type: "button", class: "button", onclick: () => load(token) }, "Show more");
}

/** @param {import("../app.js").App} app */
function nothing(app) {
  return empty("Nothing is left", "No item meets all filters.", { label: "Remove the filters", act: () => app.tuning.set(plainTuning()) });
}

/** @param {import("../app.js").App} app */
function hiddenNote(app) {
  const n = Object.keys(app.profile.state.value.hidden).length;
  return n > 0 && h("p", { class: "quiet" }, `${plural(n, "item")} left out. `,
    h("button", { type: "button", class: "link-button", onclick: () => app.profile.showAgain() }, "Show again"));
}

/** Forget what was said about items that this version does not know. True if there was something to forget. @param {import("../app.js").App} app @param {any} error */
async function dropUnknown(app, error) {
  if (error.status !== 404 || !app.profile.isVisitor) return false;
  const { history } = /** @type {any} */ (app.profile.user());
  try {
    const { missingItemIds } = await call("embed-new-user", { model: app.model.ref, ...history, skipUnknownItems: true });
    for (const itemId of missingItemIds) app.profile.forget(itemId);
    return missingItemIds.length > 0;
  } catch {
    return false;
  }
}

/** Place and control of the focus among the cards. @param {HTMLElement} list */
function focusedPlace(list) {
  const at = document.activeElement;
  const focused = at instanceof HTMLElement ? at.closest(".card") : null;
  if (!focused || !list.contains(focused)) return undefined;
  return { place: [...list.children].indexOf(focused), node: at };
}

/** After the card with the focus is gone, focus the card in its place. @param {HTMLElement} list @param {ReturnType<typeof focusedPlace>} focus */
function keepFocus(list, focus) {
  if (!focus || focus.node?.isConnected) return;
  const next = list.children[Math.min(focus.place, list.children.length - 1)];
  /** @type {HTMLElement | null} */ (next?.querySelector("button"))?.focus({ preventScroll: true });
}
