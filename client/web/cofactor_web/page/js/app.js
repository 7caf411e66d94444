// The state that the views share, and what a person can do in any of them.

import { createStore } from "./core/store.js";
import { toast } from "./core/toast.js";
import { rating as ratingText } from "./core/format.js";
import { titleOf } from "./items/item.js";
import { eventSentence } from "./items/event_buttons.js";
import { openProfile } from "./person/profile.js";

/**
 * @typedef {object} Tuning How the list of recommendations is made.
 * @property {number} diversity @property {number} popularityPenalty
 * @property {string[]} anyGenres @property {string[]} excludedGenres
 * @property {number | null} minReleaseYear @property {number | null} maxReleaseYear
 * @property {number} minRatingCount @property {number | null} minPredictedRating
 */

/** @returns {Tuning} */
export const plainTuning = () => ({
  diversity: 0, popularityPenalty: 0, anyGenres: [], excludedGenres: [],
  minReleaseYear: null, maxReleaseYear: null, minRatingCount: 0, minPredictedRating: null,
});

/** @param {import("./core/model.js").ShownModel} model */
export function createApp(model) {
  const profile = openProfile(`${model.key}:profile`);
  const tuning = createStore(plainTuning());
  const undo = { label: "Undo", act: () => profile.undo() };
  return {
    model,
    profile,
    tuning,
    /** @param {any} item @param {number} rating */
    rate(item, rating) {
      profile.rate(item, rating);
      toast(`${titleOf(item)}: ${ratingText(rating)} of ${ratingText(model.steps[model.steps.length - 1])}`, undo);
    },
    /** @param {any} item @param {string} type */
    recordEvent(item, type) {
      profile.record(item, type);
      const known = model.eventTypes.find(({ name }) => name === type);
      const isSet = profile.state.value.events[item.itemId]?.types.includes(type);
      toast(`${titleOf(item)}: ${isSet && known ? eventSentence(known) : "taken back"}`, undo);
    },
    /** @param {any} item */
    skip(item) {
      profile.skip(item);
    },
    /** @param {any} item */
    hide(item) {
      profile.hide(item);
      toast(`${titleOf(item)} is left out from now on`, undo);
    },
    /** @param {string} itemId */
    forget(itemId) {
      profile.forget(itemId);
      toast("Taken back", undo);
    },
    undo() {
      toast(profile.undo() ? "The last change is undone" : "There is nothing to undo");
    },
  };
}

/** @typedef {ReturnType<typeof createApp>} App */
