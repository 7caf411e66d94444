// The control by which a person says what they think of an item: stars, or events for a model that learnt from these.

import { eventButtons } from "./event_buttons.js";
import { titleOf } from "./item.js";
import { stars } from "./stars.js";

/**
 * @param {import("../app.js").App} app @param {any} item
 * @returns {any} An element that follows the profile through `refresh()`.
 */
export function opinion(app, item) {
  const { model, profile } = app;
  const title = titleOf(item);
  const control = model.takesEvents
    ? eventButtons({ title, types: model.eventTypes, record: (type) => app.recordEvent(item, type) })
    : stars({ title, steps: model.steps, rate: (rating) => app.rate(item, rating) });
  control.classList.add("opinion");
  control.refresh = () => {
    const { ratings, events } = profile.state.value;
    control.show(model.takesEvents ? events[item.itemId]?.types : ratings[item.itemId]?.rating);
  };
  control.refresh();
  return control;
}
