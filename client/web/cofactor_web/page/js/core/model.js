// What the page knows about the model that it shows.

import { call } from "./api.js";

const LONGEST_SCALE = 10;
const STARS_OF_A_LONG_SCALE = 5;

/**
 * @typedef {object} EventType
 * @property {string} name @property {number} weight @property {boolean} negative
 *
 * @typedef {{key: string, choice?: {answers: string[]}, number?: {mean: number, lowest?: number, highest?: number}}} Question
 *
 * @typedef {object} ShownModel
 * @property {any} description The message Model.
 * @property {any} ref Request field `model`; undefined for the default model.
 * @property {string} name
 * @property {string} key Prefix of what the page stores for this model.
 * @property {boolean} predictsRatings
 * @property {boolean} takesEvents True if events take the place of ratings.
 * @property {EventType[]} eventTypes
 * @property {number[]} steps The ratings that a user can give, lowest first.
 * @property {Question[]} questions Sign-up answers that the model uses.
 * @property {number} pageLimit Most results of one request.
 * @property {{n: number, rmse: number}[]} curve Error after n ratings, as measured at training; empty if it was not.
 */

/** Ask the server for the model. @param {string} name Empty: the default model. @returns {Promise<ShownModel>} */
export async function loadModel(name) {
  const ref = name ? { name } : undefined;
  const { model, limits } = await call("get-model", { model: ref });
  const takesEvents = Boolean(model.events) && model.objective === "ranking";
  return {
    description: model,
    ref,
    name: model.name,
    key: `cofactor:${model.name}`,
    predictsRatings: model.objective !== "ranking",
    takesEvents,
    eventTypes: model.events?.types ?? [],
    steps: takesEvents ? [] : ratingSteps(Number(model.ratingMin), Number(model.ratingMax)),
    questions: questionsOf(model),
    pageLimit: Number(limits.maxPageSize),
    curve: curveOf(model.metrics ?? {}),
  };
}

/** Names of all models that are ready. @returns {Promise<string[]>} */
export async function modelNames() {
  const { models } = await call("list-models", { pageSize: 100 });
  return [...new Set(models.filter((/** @type {any} */ model) => model.state === "STATE_READY").map((/** @type {any} */ model) => model.name))].sort();
}

/**
 * The ratings of one star, two stars and so on: whole numbers on a short scale, five equal steps on a long one.
 * @param {number} min @param {number} max
 */
export function ratingSteps(min, max) {
  const first = Math.max(1, Math.ceil(min));
  if (min >= 0 && max <= LONGEST_SCALE && max - first >= 1) {
    return Array.from({ length: Math.floor(max) - first + 1 }, (_, i) => first + i);
  }
  return Array.from({ length: STARS_OF_A_LONG_SCALE }, (_, i) => min + ((max - min) * i) / (STARS_OF_A_LONG_SCALE - 1));
}

/** A server of 0.1 names the keys only. @param {any} model @returns {Question[]} */
const questionsOf = (model) => model.profileQuestions?.length ? model.profileQuestions : (model.profileKeys ?? []).map((/** @type {string} */ key) => ({ key }));

/** @param {Record<string, number>} metrics */
function curveOf(metrics) {
  return Object.entries(metrics)
    .map(([name, value]) => ({ n: Number(/^new_user_rmse@(\d+)$/.exec(name)?.[1] ?? NaN), rmse: Number(value) }))
    .filter(({ n }) => !Number.isNaN(n))
    .sort((a, b) => a.n - b.n);
}
