// The colour of each genre. The commonest genres get the most different hues; an item has the hue of its first genre.

const HUES = [255, 35, 150, 340, 85, 200, 300, 15, 120, 230, 60, 175];

/** @type {Map<string, number>} */
const hues = new Map();
/** @type {string[]} */
let known = [];

/** Learn the genres of a catalogue from many items. @param {{genres: string[]}[]} items */
export function learnGenres(items) {
  /** @type {Map<string, number>} */
  const counts = new Map();
  for (const item of items) for (const genre of item.genres) counts.set(genre, (counts.get(genre) ?? 0) + 1);
  known = [...counts].sort((a, b) => b[1] - a[1] || a[0].localeCompare(b[0])).map(([genre]) => genre);
  known.forEach((genre, i) => hues.set(genre, HUES[i % HUES.length]));
}

/** All genres, commonest first. */
export const genres = () => known;

/** Hue in degrees of a genre. @param {string | undefined} genre */
export function hueOf(genre) {
  if (!genre) return 95;
  const hue = hues.get(genre);
  if (hue !== undefined) return hue;
  let hash = 0;
  for (const letter of genre) hash = (hash * 31 + letter.charCodeAt(0)) >>> 0;
  return HUES[hash % HUES.length];
}
