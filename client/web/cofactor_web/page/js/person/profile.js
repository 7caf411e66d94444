// What a person said: ratings or events, items not seen and not wanted, answers. It lives in this browser only, and
// travels with each request.

import { createStore, readStored, writeStored } from "../core/store.js";
import { brief } from "../items/item.js";

const UNDO_DEPTH = 50;

/**
 * @typedef {object} ProfileState
 * @property {Record<string, {rating: number, item: any, at: number}>} ratings By item id.
 * @property {Record<string, {types: string[], item: any, at: number}>} events By item id.
 * @property {string[]} skipped Items that the person has not seen, the newest last.
 * @property {Record<string, any>} hidden Items that the person does not want, by id.
 * @property {Record<string, string>} answers Sign-up answers.
 * @property {string} userId User of the training data; empty for a visitor.
 */

/** @returns {ProfileState} */
const nothing = () => ({ ratings: {}, events: {}, skipped: [], hidden: {}, answers: {}, userId: "" });

/** The profile of this browser for a model. @param {string} key Where it is stored. */
export function openProfile(key) {
  const store = createStore(soundState(readStored(key, {})));
  /** @type {ProfileState[]} */
  const undos = [];
  /** @param {Partial<ProfileState>} fields */
  const change = (fields) => {
    undos.push(store.value);
    if (undos.length > UNDO_DEPTH) undos.shift();
    store.set(fields);
  };
  store.subscribe((value) => setTimeout(() => writeStored(key, value)));
  addEventListener("storage", (event) => {
    if (event.key === key) store.set(soundState(readStored(key, {})));
  });

  return {
    state: { get value() { return store.value; } },
    subscribe: store.subscribe,
    /** True unless an existing user is signed in. */
    get isVisitor() {
      return !store.value.userId;
    },
    /** Number of items that the person rated, or has events of. */
    get size() {
      return Object.keys(store.value.ratings).length + Object.keys(store.value.events).length;
    },
    /** Ids of all items that the starter set need not ask about. */
    get answered() {
      const { ratings, events, skipped, hidden } = store.value;
      return new Set([...Object.keys(ratings), ...Object.keys(events), ...skipped, ...Object.keys(hidden)]);
    },
    /** @param {any} item @param {number} rating */
    rate(item, rating) {
      const { skipped, ratings } = store.value;
      change({ ratings: { ...ratings, [item.itemId]: { rating, item: brief(item), at: Date.now() } }, skipped: without(skipped, item.itemId) });
    },
    /** Add an event; the second time, take it back. @param {any} item @param {string} type */
    record(item, type) {
      const { events, skipped } = store.value;
      const before = events[item.itemId]?.types ?? [];
      const types = before.includes(type) ? without(before, type) : [...before, type];
      /** @type {ProfileState["events"]} */
      const next = { ...events, [item.itemId]: { types, item: brief(item), at: Date.now() } };
      if (!types.length) delete next[item.itemId];
      change({ events: next, skipped: without(skipped, item.itemId) });
    },
    /** Take back what was said about an item. @param {string} itemId */
    forget(itemId) {
      const { ratings, events } = store.value;
      change({ ratings: omit(ratings, itemId), events: omit(events, itemId) });
    },
    /** @param {any} item */
    skip(item) {
      change({ skipped: [...without(store.value.skipped, item.itemId), item.itemId] });
    },
    /** @param {any} item */
    hide(item) {
      change({ hidden: { ...store.value.hidden, [item.itemId]: brief(item) } });
    },
    showAgain() {
      change({ hidden: {} });
    },
    /** @param {Record<string, string>} answers */
    answer(answers) {
      change({ answers });
    },
    /** @param {string} userId */
    signIn(userId) {
      store.set({ userId });
    },
    signOut() {
      store.set({ userId: "" });
    },
    clear() {
      change({ ...nothing() });
    },
    /** Take back the last change; false if there is none. */
    undo() {
      const before = undos.pop();
      if (before) store.set({ ...before, userId: store.value.userId });
      return Boolean(before);
    },
    /** The message User of requests. */
    user() {
      const { userId } = store.value;
      return userId ? { userId } : { history: historyOf(store.value) };
    },
  };
}

/** @typedef {ReturnType<typeof openProfile>} Profile */

/** The fields of a stored profile that have the right type; other fields as in an empty one. @param {any} stored @returns {ProfileState} */
function soundState(stored) {
  const state = /** @type {any} */ (nothing());
  for (const [name, empty] of Object.entries(state)) {
    const value = stored?.[name];
    if (value && typeof value === typeof empty && Array.isArray(value) === Array.isArray(empty)) state[name] = value;
  }
  return state;
}

/** @param {ProfileState} state */
function historyOf({ ratings, events, answers }) {
  return {
    ratings: Object.entries(ratings).map(([itemId, { rating }]) => ({ itemId, rating })),
    events: Object.entries(events).flatMap(([itemId, { types }]) => types.map((eventType) => ({ itemId, eventType }))),
    profile: answers,
  };
}

/** @template T @param {T[]} list @param {T} entry */
const without = (list, entry) => list.filter((other) => other !== entry);

/** @template T @param {Record<string, T>} record @param {string} key */
function omit(record, key) {
  const { [key]: _, ...rest } = record;
  return rest;
}
