// Calls to the gateway: JSON in, JSON out, problems as ApiError. Rate limits are waited out here.

import { connection } from "./connection.js";

const LIMIT_RETRIES = 3;

/** A call that failed. `status` is 0 if the gateway itself could not be reached. */
export class ApiError extends Error {
  /** @param {number} status @param {{detail?: string, title?: string, reason?: string, retryAfterSeconds?: number}} problem */
  constructor(status, problem) {
    super(problem.detail || problem.title || "The request failed.");
    this.status = status;
    this.reason = problem.reason ?? "";
    this.retryAfterSeconds = problem.retryAfterSeconds;
  }

  /** True if the server is away, so that the same call may succeed later. */
  get isAway() {
    return this.status === 0 || this.status === 503;
  }
}

/** True for the error of a request that was replaced by a newer one. @param {any} error */
export function isAborted(error) {
  return error?.name === "AbortError";
}

/**
 * Call an RPC, such as "recommend".
 * @param {string} rpc @param {object} body @param {{signal?: AbortSignal}} [options] @returns {Promise<any>}
 */
export function call(rpc, body, { signal } = {}) {
  return send(`/v1/${rpc}`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal });
}

/** Call an RPC of the admin port. @param {string} rpc @param {object} body @param {string} token @returns {Promise<any>} */
export function callAdmin(rpc, body, token) {
  return send(`/admin/v1/${rpc}`, { method: "POST", headers: { "Content-Type": "application/json", ...bearer(token) }, body: JSON.stringify(body) });
}

/** Read what the server counted since its start. @param {string} token @returns {Promise<any>} */
export function readMetrics(token) {
  return send("/api/operator/metrics", { headers: bearer(token) });
}

/** @param {string} token @returns {Record<string, string>} */
const bearer = (token) => (token ? { Authorization: `Bearer ${token}` } : {});

/** @param {string} path @param {RequestInit} init @returns {Promise<any>} */
async function send(path, init) {
  for (let attempt = 0; ; attempt++) {
    const response = await reach(path, init);
    if (response.ok) {
      connection.answered();
      return response.json();
    }
    const error = new ApiError(response.status, await problemOf(response));
    if (error.isAway && path.startsWith("/v1/")) connection.lost();
    if (response.status !== 429 || attempt === LIMIT_RETRIES) throw error;
    const seconds = Math.min(30, error.retryAfterSeconds ?? 2 ** attempt);
    connection.limited(seconds);
    await pause(seconds, init.signal ?? undefined);
  }
}

/** @param {string} path @param {RequestInit} init */
async function reach(path, init) {
  try {
    return await fetch(path, init);
  } catch (error) {
    if (isAborted(error)) throw error;
    connection.lost();
    throw new ApiError(0, { detail: "The server cannot be reached.", reason: "GATEWAY_UNREACHABLE" });
  }
}

/** @param {Response} response */
async function problemOf(response) {
  try {
    return await response.json();
  } catch {
    return { title: `HTTP status ${response.status}` };
  }
}

/** Wait. @param {number} seconds @param {AbortSignal} [signal] */
function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(new DOMException("replaced by a newer request", "AbortError"));
    });
  });
}

/** Run calls of which only the newest counts: each one aborts the one before it. */
export function latestOnly() {
  /** @type {AbortController | undefined} */
  let running;
  return {
    /** @param {string} rpc @param {object} body @returns {Promise<any>} */
    call(rpc, body) {
      running?.abort();
      running = new AbortController();
      return call(rpc, body, { signal: running.signal });
    },
    abort() {
      running?.abort();
    },
  };
}
