// A value that tells its listeners when it changes.

/**
 * @template T
 * @param {T} initial
 */
export function createStore(initial) {
  let value = initial;
  /** @type {Set<(value: T) => void>} */
  const listeners = new Set();
  return {
    get value() {
      return value;
    },
    /** Replace some fields and tell the listeners. @param {Partial<T>} fields */
    set(fields) {
      value = { ...value, ...fields };
      for (const listener of [...listeners]) listener(value);
    },
    /** Call a listener after each change, until the returned function is called. @param {(value: T) => void} listener */
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

/** Read a JSON value from the browser's storage; the fallback if there is none, or storage is blocked. @param {string} key @param {any} fallback */
export function readStored(key, fallback) {
  try {
    return JSON.parse(localStorage.getItem(key) ?? "null") ?? fallback;
  } catch {
    return fallback;
  }
}

/** Write a JSON value to the browser's storage. Without storage the page works until it is closed. @param {string} key @param {any} value */
export function writeStored(key, value) {
  try {
    localStorage.setItem(key, JSON.stringify(value));
  } catch {
    // Full or blocked.
  }
}
