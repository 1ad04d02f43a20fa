// Columns as what is left out by them, counted, and searched.

const BARS = 40;

// A filter is the codes that are left out of groups, or the ends between which values lie.
export function applyFilter(shown, column, filter) {
  const { codes, values } = column;
  if (filter.hidden) {
    for (let row = 0; row < shown.length; row++) if (filter.hidden.has(codes[row])) shown[row] = 0;
    return;
  }
  const { low, high, missing } = filter;
  for (let row = 0; row < shown.length; row++) {
    const value = values[row];
    if (codes[row] ? value < low || value > high : !missing) shown[row] = 0;
  }
}

// How many values lie in each of equal parts of the scale.
export function histogramOf({ values, codes, low, high }) {
  const counts = new Uint32Array(BARS), span = high - low || 1;
  for (let row = 0; row < values.length; row++) {
    if (codes[row]) counts[Math.min(BARS - 1, Math.floor((values[row] - low) / span * BARS))]++;
  }
  return counts;
}

// Whether all words are in a text, in any order.
export function wordsIn(text) {
  return text.toLowerCase().split(/\s+/).filter(word => word);
}
export const hasWords = (text, words) => words.every(word => text.includes(word));
