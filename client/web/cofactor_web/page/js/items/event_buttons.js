// The control of models that learnt from events: "I bought this" in the place of stars.

import { h } from "../core/dom.js";

const SENTENCES = {
  purchase: "I bought this", buy: "I bought this", order: "I ordered this", play: "I played this", listen: "I played this", read: "I read this",
  view: "I looked at this", click: "I opened this", cart: "In my basket", watch: "I watched this", like: "I like this", return: "I returned this",
};

/** What a user did, in words. @param {import("../core/model.js").EventType} type */
export function eventSentence(type) {
  if (!type.name) return "I chose this";
  const known = SENTENCES[/** @type {keyof typeof SENTENCES} */ (type.name.toLowerCase())];
  return known ?? `${type.name[0].toUpperCase()}${type.name.slice(1)}`;
}

/**
 * @param {{title: string, types: import("../core/model.js").EventType[], value?: string[], record: (type: string) => void}} options
 * @returns {any} An element with `show(names)`.
 */
export function eventButtons({ title, types, value, record }) {
  const ordered = [...types].sort((a, b) => Number(a.negative) - Number(b.negative) || b.weight - a.weight);
  const buttons = ordered.map((type, i) =>
    h("button", { type: "button", class: `event-button ${i === 0 ? "main" : ""}`, data: { type: type.name },
      "aria-label": `${eventSentence(type)}: ${title}`, onclick: () => record(type.name) }, eventSentence(type)));
  const group = h("div", { class: "event-buttons", role: "group", "aria-label": `What you did with ${title}` }, buttons);
  let shown = "none";
  group.show = (/** @type {string[] | undefined} */ names) => {
    if (shown === String(names)) return;
    shown = String(names);
    for (const button of buttons) button.setAttribute("aria-pressed", String(names?.includes(button.dataset.type) ?? false));
  };
  group.show(value);
  return group;
}
