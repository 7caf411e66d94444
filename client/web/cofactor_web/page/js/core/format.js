// Numbers, ages and counts as text.

const counts = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

/** @param {number | string} value */
export const compact = (value) => counts.format(Number(value));

/** "1 rating", "12 ratings". @param {number} n @param {string} noun @param {string} [plural] */
export const plural = (n, noun, plural = `${noun}s`) => `${n.toLocaleString("en")} ${n === 1 ? noun : plural}`;

/** A rating with at most one decimal place. @param {number} value */
export const rating = (value) => String(Math.round(value * 10) / 10);

/** A rating with one decimal place. @param {number} value */
export const predicted = (value) => value.toFixed(1);

/** A signed number with two decimal places, with a real minus sign. @param {number} value */
export const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}`;

/** How long ago a time was. @param {string | undefined} time RFC 3339 */
export function age(time) {
  if (!time) return "–";
  const seconds = Math.max(0, (Date.now() - Date.parse(time)) / 1000);
  const [size, unit] = seconds < 90 ? [1, "s"] : seconds < 5400 ? [60, "min"] : seconds < 129_600 ? [3600, "h"] : [86_400, "days"];
  return `${Math.round(seconds / size)} ${unit} ago`;
}

/** A duration in a fitting unit. @param {number | null | undefined} seconds */
export function duration(seconds) {
  if (seconds === null || seconds === undefined || Number.isNaN(Number(seconds))) return "–";
  if (seconds < 0.001) return `${Math.round(seconds * 1e6)} µs`;
  return seconds < 1 ? `${(seconds * 1000).toFixed(seconds < 0.01 ? 1 : 0)} ms` : `${seconds.toFixed(1)} s`;
}

/** A share as a percentage. @param {number} share */
export const percent = (share) => `${Math.round(share * 100)} %`;
