// Which images are alike by their embeddings, which the map shows only in part.

import { numbersOf } from "../../pages/_web/bytes.js";
import { page } from "../../pages/_web/page.js";
import { n } from "./data.js";

const near = page.neighbors;
const ids = near && numbersOf(Int32Array, near.ids);
// Neighbours are known of all rows, or of these.
const known = near?.rows && new Map(Array.from(numbersOf(Int32Array, near.rows), (row, i) => [row, i]));
const sketch = near?.sketch && numbersOf(Int8Array, near.sketch);
export const hasSketch = Boolean(sketch);

// The nearest rows of a row, nearest first; null where they are not known.
export function neighborsOf(row) {
  if (!near || row < 0) return null;
  const at = known ? known.get(row) : row;
  return at === undefined ? null : Array.from(ids.subarray(at * near.k, (at + 1) * near.k));
}

// How far each row is from one: by the principal axes that the page has, and the nearest as they are.
export function farnessFrom(row) {
  const width = sketch.length / n, far = new Float32Array(n);
  for (let other = 0; other < n; other++) {
    for (let i = 0; i < width; i++) {
      const step = sketch[other * width + i] - sketch[row * width + i];
      far[other] += step * step;
    }
  }
  const nearest = neighborsOf(row);
  nearest.forEach((other, i) => { far[other] = i - nearest.length - 1 });
  far[row] = -Infinity;
  return far;
}
