// Look at the page with the eyes of a user of the training data.

import { call } from "../core/api.js";
import { fill, h } from "../core/dom.js";

/** @param {import("../app.js").App} app */
export function signIn(app) {
  const { profile, model } = app;
  const note = h("p", { class: "quiet", role: "status" });
  const input = h("input", { id: "user-id", autocomplete: "off", required: true, maxlength: 256, placeholder: "User id", "aria-label": "User id" });
  const form = h("form", { class: "inline-form", onsubmit: enter }, input, h("button", { class: "button" }, "Sign in"));
  const body = h("div", {});
  const node = h("section", { class: "panel", "aria-labelledby": "sign-in-title" }, h("h2", { id: "sign-in-title" }, "Be somebody else"), body);

  /** @param {Event} event */
  async function enter(event) {
    event.preventDefault();
    const userId = input.value.trim();
    try {
      await call("recommend", { model: model.ref, user: { userId }, pageSize: 1 });
      profile.signIn(userId);
    } catch (/** @type {any} */ error) {
      note.textContent = error.status === 404 ? `The model does not know the user ${userId}.` : error.message;
    }
  }
  function show() {
    const { userId } = profile.state.value;
    note.textContent = "";
    if (userId) {
      fill(body, h("p", { class: "quiet" }, `You see what ${userId} would get.`), h("button", { type: "button", class: "button", onclick: () => profile.signOut() }, "Be yourself again"));
    } else {
      fill(body, h("p", { class: "quiet" }, "See what a user of the training data rated and would get."), form, note);
    }
  }
  const stop = profile.subscribe(show);
  show();
  return { node, leave: stop };
}
