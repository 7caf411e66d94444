// Spread the points of a map: half of a place is the place itself, half its rank, so that dense clusters get more room.
// The order along each axis stays as it is.

const RANK_SHARE = 0.5;

/** Return a growing function of places from -1 to 1. @param {number[]} values Places of the points along one axis. @returns {(value: number) => number} */
export function spreading(values) {
  const sorted = Float64Array.from(values).sort();
  return (value) => (1 - RANK_SHARE) * value + RANK_SHARE * (2 * rankOf(sorted, value) - 1);
}

/** Share of the values below a value; between two of them by a straight line. @param {Float64Array} sorted @param {number} value */
function rankOf(sorted, value) {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < value) low = middle + 1;
    else high = middle;
  }
  if (low === 0 || low === sorted.length) return low / Math.max(1, sorted.length);
  const gap = sorted[low] - sorted[low - 1];
  return (low - 1 + (gap ? (value - sorted[low - 1]) / gap : 1)) / (sorted.length - 1);
}
