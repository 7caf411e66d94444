// Let the cards on the screen glide from their old places to their new ones.

const DURATION_MS = 220;

/** Note the places of the children of a list; the returned function animates from them. @param {Element} list */
export function glide(list) {
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) return () => {};
  const before = new Map([...list.children].map((child) => [child, child.getBoundingClientRect()]));
  return () => {
    for (const child of list.children) {
      const from = before.get(child);
      const to = child.getBoundingClientRect();
      if (Math.min(to.top, from?.top ?? to.top) > innerHeight || to.bottom < 0) continue;
      if (!from) {
        child.animate([{ opacity: 0, transform: "scale(.97)" }, { opacity: 1, transform: "none" }], { duration: DURATION_MS, easing: "ease-out" });
      } else if (from.left !== to.left || from.top !== to.top) {
        child.animate([{ transform: `translate(${from.left - to.left}px, ${from.top - to.top}px)` }, { transform: "none" }],
          { duration: DURATION_MS, easing: "cubic-bezier(.2,.7,.2,1)" });
      }
    }
  };
}
