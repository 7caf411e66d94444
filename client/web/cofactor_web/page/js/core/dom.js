// Build and update elements. Text only ever becomes text nodes, so a title cannot become markup.

const SVG = "http://www.w3.org/2000/svg";

/**
 * Set properties of an element: `class`, `data` (dataset), `vars` (CSS custom properties), `on…` (listeners); everything
 * else is an attribute, which false, null and undefined remove.
 * @param {Element} node
 * @param {Record<string, any>} props
 */
export function assign(node, props) {
  for (const [key, value] of Object.entries(props)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (key === "class") node.setAttribute("class", value);
    else if (key === "data") Object.assign(/** @type {HTMLElement} */ (node).dataset, value);
    else if (key === "vars") {
      for (const [name, text] of Object.entries(value)) /** @type {HTMLElement} */ (node).style.setProperty(name, String(text));
    } else if (key === "value") /** @type {HTMLInputElement} */ (node).value = value;
    else if (value === false || value === null || value === undefined) node.removeAttribute(key);
    else node.setAttribute(key, value === true ? "" : String(value));
  }
}

/** @typedef {any} Child A node, a text, a number, a list of these; null, undefined and false are left out. */

/** @param {Child[]} children @returns {(Node | string)[]} */
function flat(children) {
  return /** @type {any[]} */ (children).flat(9).filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => (child instanceof Node ? child : String(child)));
}

/**
 * Make an HTML element.
 * @param {string} tag @param {Record<string, any>} [props] @param {...Child} children
 * @returns {any}
 */
export function h(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  assign(node, props);
  node.append(...flat(children));
  return node;
}

/** Make an SVG element. @param {string} tag @param {Record<string, any>} [props] @param {...Child} children @returns {any} */
export function svg(tag, props = {}, ...children) {
  const node = document.createElementNS(SVG, tag);
  assign(node, props);
  node.append(...flat(children));
  return node;
}

/** Replace the children of an element. @param {Element} parent @param {...Child} children */
export function fill(parent, ...children) {
  parent.replaceChildren(...flat(children));
}

/** @type {WeakMap<Element, Map<string, any>>} */
const keyedNodes = new WeakMap();

/**
 * Show a list with one element per entry. Elements of entries that stay are kept and moved, with their focus and state.
 * @template T
 * @param {Element} parent @param {T[]} entries @param {(entry: T) => string} keyOf
 * @param {(entry: T) => any} make Makes an element; its property `update`, if any, is called with each new entry.
 */
export function keyed(parent, entries, keyOf, make) {
  const before = keyedNodes.get(parent) ?? new Map();
  const now = new Map();
  const focused = document.activeElement;
  for (const entry of entries) {
    const key = keyOf(entry);
    const node = before.get(key) ?? make(entry);
    node.update?.(entry);
    now.set(key, node);
  }
  for (const [key, node] of before) if (!now.has(key)) node.remove();
  let place = parent.firstElementChild;
  for (const node of now.values()) {
    if (place && node === place) place = place.nextElementSibling;
    else parent.insertBefore(node, place);
  }
  keyedNodes.set(parent, now);
  if (focused instanceof HTMLElement && focused.isConnected && document.activeElement !== focused) focused.focus({ preventScroll: true });
}

/** Draw one of the page's icons. @param {keyof typeof ICONS} name @returns {SVGElement} */
export function icon(name) {
  return svg("svg", { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true" }, svg("path", { d: ICONS[name] }));
}

const ICONS = {
  star: "M12 2.6l2.9 5.9 6.5.9-4.7 4.6 1.1 6.5-5.8-3.1-5.8 3.1 1.1-6.5L2.6 9.4l6.5-.9z",
  search: "M10.5 4a6.5 6.5 0 1 0 4 11.6l4.4 4.4 1.6-1.6-4.4-4.4A6.5 6.5 0 0 0 10.5 4zm0 2.3a4.2 4.2 0 1 1 0 8.4 4.2 4.2 0 0 1 0-8.4z",
  close: "M6.4 4.9L12 10.5l5.6-5.6 1.5 1.5-5.6 5.6 5.6 5.6-1.5 1.5-5.6-5.6-5.6 5.6-1.5-1.5 5.6-5.6-5.6-5.6z",
  undo: "M9 5v4h5a5.5 5.5 0 0 1 0 11H8v-2.2h6a3.3 3.3 0 0 0 0-6.6H9v4L3 9.600z",
  plus: "M10.900 4h2.200v6.900H20v2.200h-6.900V20h-2.200v-6.900H4v-2.200h6.900z",
  minus: "M4 10.900h16v2.200H4z",
  reset: "M4 4h6v2.200H7.700L11 9.500 9.500 11 6.200 7.700V10H4zm16 16h-6v-2.200h2.300L13 14.500l1.500-1.500 3.300 3.300V14H20z",
  moon: "M20 14.500A8.500 8.500 0 0 1 9.500 4a8.500 8.500 0 1 0 10.500 10.500z",
  sun: "M12 7.500a4.500 4.500 0 1 0 0 9 4.500 4.500 0 0 0 0-9zM11 1.500h2v3.500h-2zm0 17.500h2v3.500h-2zM1.500 11H5v2H1.500zM19 11h3.500v2H19zM4 5.400L5.400 4l2.500 2.500-1.400 1.400zM16.100 17.500l1.400-1.400L20 18.600 18.600 20zM4 18.600l2.500-2.500 1.400 1.400L5.400 20zM16.100 6.500L18.600 4 20 5.400l-2.500 2.500z",
  filter: "M3 5h18v2.200H3zm3.500 5.900h11v2.200h-11zM10 16.800h4V19h-4z",
};
