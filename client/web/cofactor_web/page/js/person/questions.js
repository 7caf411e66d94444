// Sign-up answers, if the model uses any.

import { call } from "../core/api.js";
import { h } from "../core/dom.js";

/** @param {import("../app.js").App} app */
export function questions(app) {
  const { model, profile } = app;
  const note = h("p", { class: "quiet", role: "status" });
  const inputs = model.profileKeys.map((key) => h("input", { name: key, autocomplete: "off", maxlength: 100, value: profile.state.value.answers[key] ?? "" }));
  const form = h("form", { class: "questions", onsubmit: save, onchange: save },
    model.profileKeys.map((key, i) => h("label", {}, h("span", {}, words(key)), inputs[i])), note);
  const node = h("section", { class: "panel", "aria-labelledby": "questions-title" }, h("h2", { id: "questions-title" }, "About you"), form);

  /** @param {Event} event */
  async function save(event) {
    event.preventDefault();
    const answers = Object.fromEntries(inputs.map((input) => [input.name, input.value.trim()]).filter(([, answer]) => answer));
    profile.answer(answers);
    try {
      const { ignoredProfileKeys } = await call("embed-new-user", { model: model.ref, profile: answers });
      note.textContent = ignoredProfileKeys.length ? `The model does not know this answer: ${ignoredProfileKeys.map(words).join(", ")}.` : "";
    } catch {
      note.textContent = "";
    }
  }
  const show = () => {
    node.hidden = !model.profileKeys.length || !profile.isVisitor;
    for (const input of inputs) if (input !== document.activeElement) input.value = profile.state.value.answers[input.name] ?? "";
  };
  show();
  return { node, leave: profile.subscribe(show) };
}

/** "zip_code" → "Zip code". @param {string} key */
const words = (key) => key[0].toUpperCase() + key.slice(1).replaceAll("_", " ");
