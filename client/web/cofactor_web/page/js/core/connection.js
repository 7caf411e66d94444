// Follow whether the server answers; when it is away, ask again, less and less often, until it is back.

import { createStore } from "./store.js";

const LONGEST_WAIT_S = 8;

/** @typedef {"connecting" | "online" | "away"} Reach */
/** @type {{reach: Reach, secondsToRetry: number, limitedSeconds: number, health: {operator: boolean, metrics: boolean}}} */
const start = { reach: "connecting", secondsToRetry: 0, limitedSeconds: 0, health: { operator: false, metrics: false } };
const store = createStore(start);
/** @type {Set<() => void>} */
const returns = new Set();
let wait = 1;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let limit;

export const connection = {
  get value() {
    return store.value;
  },
  subscribe: store.subscribe,
  /** Call a function whenever the server is back. @param {() => void} listener */
  onReturn(listener) {
    returns.add(listener);
    return () => returns.delete(listener);
  },
  /** A call was answered. */
  answered() {
    if (store.value.reach === "connecting") store.set({ reach: "online" });
  },
  /** A call found nobody. */
  lost() {
    if (store.value.reach === "away") return;
    store.set({ reach: "away" });
    wait = 1;
    countDown(wait);
  },
  /** The server asks for patience. @param {number} seconds */
  limited(seconds) {
    store.set({ limitedSeconds: seconds });
    clearTimeout(limit);
    limit = setTimeout(() => store.set({ limitedSeconds: 0 }), seconds * 1000);
  },
  /** Ask now whether the server is there. */
  async check() {
    clearTimeout(timer);
    const health = await readHealth();
    if (health?.server === "SERVING") {
      const wasAway = store.value.reach === "away";
      store.set({ reach: "online", secondsToRetry: 0, health });
      if (wasAway) for (const listener of [...returns]) listener();
      return;
    }
    if (store.value.reach !== "away") return connection.lost();
    wait = Math.min(LONGEST_WAIT_S, wait * 2);
    countDown(wait);
  },
};

async function readHealth() {
  try {
    const response = await fetch("/api/health", { cache: "no-store" });
    return response.ok ? await response.json() : undefined;
  } catch {
    return undefined;
  }
}

/** @param {number} seconds */
function countDown(seconds) {
  clearTimeout(timer);
  store.set({ secondsToRetry: seconds });
  timer = setTimeout(() => (seconds > 1 ? countDown(seconds - 1) : connection.check()), 1000);
}
