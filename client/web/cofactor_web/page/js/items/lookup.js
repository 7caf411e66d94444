// Titles of items that are known by id only. A list of candidates for the average user returns them.

import { call } from "../core/api.js";

/** @type {Map<string, any>} */
const known = new Map();

/** Remember items that a response contained. @param {any[]} items */
export function remember(items) {
  for (const item of items) known.set(item.itemId, item);
}

/** Return the items of ids by id; without those that the model does not know. @param {import("../core/model.js").ShownModel} model @param {string[]} ids */
export async function lookUp(model, ids) {
  const missing = [...new Set(ids)].filter((id) => !known.has(id));
  for (let start = 0; start < missing.length; start += model.pageLimit) {
    const candidateItemIds = missing.slice(start, start + model.pageLimit);
    const { results } = await call("recommend", {
      model: model.ref, user: { history: {} }, filter: { candidateItemIds }, pageSize: candidateItemIds.length, returnItems: true,
    });
    remember(results.map((/** @type {any} */ result) => result.item));
  }
  return new Map(ids.filter((id) => known.has(id)).map((id) => [id, known.get(id)]));
}
