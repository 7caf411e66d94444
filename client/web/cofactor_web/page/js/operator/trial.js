// Ask two versions for the lists of sample profiles, in turn, and compare answers, errors and times.

import { call } from "../core/api.js";
import { genres } from "../items/genres.js";

const MOST_GENRES = 12;
const LIKED = 5;
const ROUNDS = 3;
const SHOWN = 10;

/** @typedef {{profiles: number, overlap: number | undefined, versions: {requests: number, errors: number, p50: number | null, p95: number | null}[]}} Trial */

/** @param {import("../app.js").App} app @param {{name: string, version: string}[]} refs @returns {Promise<Trial>} */
export async function runTrial(app, refs) {
  const users = [app.profile.user(), ...(await fans(app, refs[0]))];
  const versions = refs.map(() => ({ requests: 0, errors: 0, seconds: /** @type {number[]} */ ([]) }));
  /** @type {number[]} */
  const overlaps = [];
  for (let round = 0; round < ROUNDS; round++) {
    for (const user of users) {
      const lists = [];
      for (let i = 0; i < refs.length; i++) lists.push(await ask(refs[i], user, versions[i]));
      if (round === 0 && lists[0] && lists[1]) overlaps.push(overlapOf(lists[0], lists[1]));
    }
  }
  return {
    profiles: users.length,
    overlap: overlaps.length ? overlaps.reduce((sum, share) => sum + share, 0) / overlaps.length : undefined,
    versions: versions.map(({ requests, errors, seconds }) => ({ requests, errors, p50: quantile(seconds, 0.5), p95: quantile(seconds, 0.95) })),
  };
}

/** @param {any} model @param {any} user @param {{requests: number, errors: number, seconds: number[]}} version @returns {Promise<string[] | undefined>} */
async function ask(model, user, version) {
  version.requests++;
  const start = performance.now();
  try {
    const { results } = await call("recommend", { model, user, pageSize: SHOWN });
    version.seconds.push((performance.now() - start) / 1000);
    return results.map((/** @type {any} */ result) => result.itemId);
  } catch {
    version.errors++;
    return undefined;
  }
}

/** Profiles of fans: each likes the best known items of one genre. @param {import("../app.js").App} app @param {any} model */
async function fans(app, model) {
  const highest = app.model.steps.at(-1);
  const strongest = [...app.model.eventTypes].filter((type) => !type.negative).sort((a, b) => b.weight - a.weight)[0];
  return Promise.all(genres().slice(0, MOST_GENRES).map(async (genre) => {
    const { results } = await call("recommend", { model, user: { history: {} }, filter: { anyGenres: [genre] }, pageSize: LIKED });
    const history = app.model.takesEvents
      ? { events: results.map((/** @type {any} */ { itemId }) => ({ itemId, eventType: strongest.name })) }
      : { ratings: results.map((/** @type {any} */ { itemId }) => ({ itemId, rating: highest })) };
    return { history };
  }));
}

/** Share of the items of one list that the other has too. @param {string[]} a @param {string[]} b */
const overlapOf = (a, b) => (a.length ? a.filter((id) => b.includes(id)).length / a.length : 1);

/** @param {number[]} values @param {number} share @returns {number | null} */
function quantile(values, share) {
  if (!values.length) return null;
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
}
