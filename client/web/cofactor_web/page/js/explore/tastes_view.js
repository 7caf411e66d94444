// "Tastes": what two profiles would get, side by side. A fan likes the best known items of a genre and not those of the other.

import { isAborted, latestOnly } from "../core/api.js";
import { connection } from "../core/connection.js";
import { fill, h, icon } from "../core/dom.js";
import { plural, predicted } from "../core/format.js";
import { failure, skeletons } from "../core/notice.js";
import { genres, hueOf } from "../items/genres.js";
import { titleOf } from "../items/item.js";
import { row } from "../items/row.js";

const LIKED = 6;
const DISLIKED = 3;
const SHOWN = 10;
const YOU = "you";

/** @param {import("../app.js").App} app */
export function tastesView(app) {
  const [left, right] = startingGenres();
  const summary = h("p", { class: "quiet", role: "status" });
  const sides = [left, right].map((genre, i) => side(app, genre, i ? "Second profile" : "First profile", load));
  const node = h("div", {}, h("div", { class: "section-head" }, h("div", {}, h("h1", { class: "display" }, "Two tastes"), summary)),
    h("div", { class: "two" }, sides.map((one) => one.node)));

  async function load() {
    try {
      const lists = await Promise.all(sides.map((one, i) => one.load(sides[1 - i].select.value)));
      const common = new Set(lists[0].map((result) => result.itemId).filter((id) => lists[1].some((other) => other.itemId === id)));
      sides.forEach((one, i) => one.show(lists[i], common));
      summary.textContent = common.size ? `${plural(common.size, "item")} of ${SHOWN} in both lists` : "The two lists have nothing in common";
    } catch (error) {
      if (!isAborted(error)) sides.forEach((one) => one.fail(error, load));
    }
  }
  const stops = [connection.onReturn(load), app.profile.subscribe(load)];
  load();
  return { node, leave: () => stops.forEach((stop) => stop()) };
}

/** Two genres that most people find far apart, if the catalogue has them; its two commonest ones otherwise. */
function startingGenres() {
  const known = genres();
  const fantastic = known.find((genre) => /^sci/i.test(genre));
  const romantic = known.find((genre) => /^roman/i.test(genre));
  return fantastic && romantic ? [fantastic, romantic] : [known[0] ?? YOU, known[1] ?? YOU];
}

/** @param {import("../app.js").App} app @param {string} start @param {string} label @param {() => void} onChange */
function side(app, start, label, onChange) {
  const select = h("select", { "aria-label": label, onchange: onChange }, h("option", { value: YOU }, "You"), genres().map((genre) => h("option", { value: genre }, `${genre} fan`)));
  select.value = start;
  const likes = h("p", { class: "quiet likes" });
  const list = h("ol", { class: "rows ranked" }, skeletons(5, "row", "li"));
  const requests = latestOnly();
  const node = h("section", { class: "panel taste", "aria-label": label }, h("div", { class: "panel-head" }, select), likes, list);
  return {
    node,
    select,
    /** Ask for the list of this side; the other side's genre is what the fan does not like. @param {string} other @returns {Promise<any[]>} */
    async load(other) {
      const genre = select.value;
      node.style.setProperty("--hue", String(hueOf(genre === YOU ? undefined : genre)));
      if (genre === YOU) {
        fill(likes, app.profile.size ? `From ${plural(app.profile.size, "opinion")} of yours` : "You have not said anything yet");
        return (await requests.call("recommend", { model: app.model.ref, user: app.profile.user(), pageSize: SHOWN, returnItems: true })).results;
      }
      const liked = await bestKnown(app, requests, genre, []);
      const disliked = other !== YOU && other !== genre && !app.model.takesEvents ? (await bestKnown(app, requests, other, [genre])).slice(0, DISLIKED) : [];
      fill(likes, h("strong", {}, "Likes "), liked.map(titleOf).join(", "), disliked.length > 0 && [h("strong", {}, " but not "), disliked.map(titleOf).join(", ")]);
      return (await requests.call("recommend", { model: app.model.ref, user: { history: historyOf(app, liked, disliked) }, pageSize: SHOWN, returnItems: true })).results;
    },
    /** @param {any[]} results @param {Set<string>} common */
    show(results, common) {
      fill(list, results.map((result) => row(result.item, {
        note: common.has(result.itemId) ? "In both lists" : undefined,
        side: result.predictedRating !== undefined && h("span", { class: "card-score" }, h("span", { class: "visually-hidden" }, "Predicted rating "), icon("star"), predicted(Number(result.predictedRating))),
      })));
    },
    /** @param {any} error @param {() => void} retry */
    fail: (error, retry) => fill(list, h("li", {}, failure(error, retry))),
  };
}

/** The best known items of a genre, without those that have an excluded genre as well. @param {import("../app.js").App} app @param {ReturnType<typeof latestOnly>} requests @param {string} genre @param {string[]} excludedGenres */
async function bestKnown(app, requests, genre, excludedGenres) {
  const { results } = await requests.call("recommend", { model: app.model.ref, user: { history: {} }, filter: { anyGenres: [genre], excludedGenres }, pageSize: LIKED, returnItems: true });
  return results.map((/** @type {any} */ result) => result.item);
}

/** @param {import("../app.js").App} app @param {any[]} liked @param {any[]} disliked */
function historyOf(app, liked, disliked) {
  const { model } = app;
  if (model.takesEvents) {
    const strongest = [...model.eventTypes].filter((type) => !type.negative).sort((a, b) => b.weight - a.weight)[0];
    return { events: liked.map(({ itemId }) => ({ itemId, eventType: strongest.name })) };
  }
  const [lowest, highest] = [model.steps[0], model.steps[model.steps.length - 1]];
  return { ratings: [...liked.map(({ itemId }) => ({ itemId, rating: highest })), ...disliked.map(({ itemId }) => ({ itemId, rating: lowest }))] };
}
