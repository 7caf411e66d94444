// Sign-up answers, if the model uses any: a list to choose from, or a number.

import { call } from "../core/api.js";
import { h } from "../core/dom.js";

/** @param {import("../app.js").App} app */
export function questions(app) {
  const { model, profile } = app;
  const note = h("p", { class: "quiet", role: "status" });
  const inputs = model.questions.map((question) => field(question));
  const form = h("form", { class: "questions", novalidate: true, onsubmit: save, onchange: save },
    model.questions.map(({ key }, i) => h("div", { class: "question" }, h("label", { for: idOf(key) }, words(key)), inputs[i])), note);
  const node = h("section", { class: "panel", "aria-labelledby": "questions-title" }, h("h2", { id: "questions-title" }, "About you"), form);

  /** @param {Event} event */
  async function save(event) {
    event.preventDefault();
    const wrong = inputs.find((input) => input.validity.badInput);
    if (wrong) return void (note.textContent = `${words(wrong.name)} is a number.`);
    const answers = Object.fromEntries(inputs.map((input) => [input.name, input.value.trim()]).filter(([, answer]) => answer));
    try {
      const { ignoredProfileKeys } = await call("embed-new-user", { model: model.ref, profile: answers });
      note.textContent = ignoredProfileKeys.length ? `The model does not know this answer: ${ignoredProfileKeys.map(words).join(", ")}.` : rareAnswers(answers);
    } catch (/** @type {any} */ error) {
      // An answer that the server refuses would take the list away. One that it cannot check now is kept.
      note.textContent = error.status === 400 ? error.message : "";
      if (error.status === 400) return;
    }
    profile.answer(answers);
  }
  /** @param {Record<string, string>} answers */
  function rareAnswers(answers) {
    return model.questions.filter(({ key, number }) => answers[key] && number?.lowest !== undefined && (Number(answers[key]) < number.lowest || Number(answers[key]) > Number(number.highest)))
      .map(({ key, number }) => `${words(key)}: the model knows few people who are not between ${number?.lowest} and ${number?.highest}.`).join(" ");
  }
  const show = () => {
    node.hidden = !inputs.length || !profile.isVisitor;
    for (const input of inputs) if (input !== document.activeElement) input.value = profile.state.value.answers[input.name] ?? "";
  };
  show();
  return { node, leave: profile.subscribe(show) };
}

/** The field of a question. @param {import("../core/model.js").Question} question */
function field({ key, choice, number }) {
  if (choice) return h("select", { id: idOf(key), name: key }, h("option", { value: "" }, "–"), choice.answers.map((answer) => h("option", { value: answer }, answer)));
  if (!number) return h("input", { id: idOf(key), name: key, autocomplete: "off", maxlength: 100 });
  const hint = number.lowest === undefined ? `such as ${Math.round(number.mean)}` : `${number.lowest} to ${number.highest}`;
  return h("input", { id: idOf(key), name: key, type: "number", step: "any", inputmode: "decimal", autocomplete: "off", placeholder: hint });
}

/** "zip_code" → "Zip code". @param {string} key */
const words = (key) => key[0].toUpperCase() + key.slice(1).replaceAll("_", " ");

/** @param {string} key */
const idOf = (key) => `answer-${key}`;
