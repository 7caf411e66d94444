// The control that rates an item: one tab stop; arrows move along the stars, Enter or Space rates, digits rate at once.

import { h, icon } from "../core/dom.js";
import { rating as ratingText } from "../core/format.js";

/**
 * @param {{title: string, steps: number[], value?: number, rate: (rating: number) => void}} options
 * @returns {any} An element with `show(value)`.
 */
export function stars({ title, steps, value, rate }) {
  const highest = ratingText(steps[steps.length - 1]);
  let current = value;
  const buttons = steps.map((step, i) =>
    h("button", {
      type: "button", class: "star", tabindex: i === 0 ? 0 : -1,
      "aria-label": `Rate ${title} ${ratingText(step)} of ${highest}`,
      onclick: () => rate(step),
      // A new item under a resting pointer is not painted as if it were rated.
      onpointermove: (/** @type {PointerEvent} */ event) => (event.movementX || event.movementY) && paint(step),
    }, icon("star")));
  const group = h("div", { class: `stars stars-${steps.length > 6 ? "many" : "few"}`, role: "group", "aria-label": `Your rating of ${title}`,
    onpointerleave: () => paint(current), onkeydown: onKey }, buttons);

  /** @param {KeyboardEvent} event */
  function onKey(event) {
    const at = buttons.indexOf(document.activeElement);
    const move = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
    if (move) {
      focusOn(Math.max(0, Math.min(buttons.length - 1, at + move)));
      event.preventDefault();
    }
  }
  /** @param {number} at */
  function focusOn(at) {
    buttons.forEach((button, i) => (button.tabIndex = i === at ? 0 : -1));
    buttons[at].focus();
    paint(steps[at]);
  }
  /** @param {number | undefined} shown */
  function paint(shown) {
    buttons.forEach((button, i) => button.classList.toggle("on", shown !== undefined && steps[i] <= shown + 1e-6));
  }
  let isShown = false;
  group.show = (/** @type {number | undefined} */ next) => {
    if (isShown && next === current) return;
    isShown = true;
    current = next;
    buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(next !== undefined && Math.abs(steps[i] - next) < 1e-6)));
    paint(next);
  };
  group.show(value);
  return group;
}
