// The points and their columns, and what is chosen, labelled and shown of them.

import { numbersOf } from "../../pages/_web/bytes.js";
import { isDark, page } from "../../pages/_web/page.js";
import { applyFilter } from "./filters.js";
import { Camera } from "./geometry.js";
import { Labels } from "./labels.js";

export const n = page.n_points;
export const is3d = page.axes.length === 3;
export const axes = page.axes.map(text => numbersOf(Float32Array, text));
export const camera = new Camera(axes);

// Every column ends as one code a point, 0 for no value, and one colour a code.
function decoded(column) {
  if (column.kind === "groups") return { ...column, codes: numbersOf(Int32Array, column.codes) };
  const values = numbersOf(Float64Array, column.values), steps = column.colors.length - 1;
  const span = column.high - column.low || 1;
  const codes = Int32Array.from(values, value =>
    Number.isFinite(value) ? 1 + Math.round((value - column.low) / span * steps) : 0);
  return { ...column, values, codes };
}

export const labels = new Labels(n);
// What is labelled on the page is a column like the others.
export const labelColumn = {
  title: "your label", kind: "groups", none: "unlabelled", names: labels.names, codes: labels.codes,
  colors: [], centers: [], counts: [n],
};
export const columns = [...page.columns.map(decoded), labelColumn];
export const ranks = new Map(page.picks.map((row, i) => [row, i + 1]));

// For each row the row that stands for it and its near-duplicates.
export const standFor = page.stand_for && numbersOf(Int32Array, page.stand_for);
const copies = new Map();
standFor?.forEach((first, row) => {
  if (!copies.has(first)) copies.set(first, []);
  copies.get(first).push(row);
});
export const copiesOf = row => copies.get(standFor[row]);

export const state = {
  column: columns.length > 1 ? columns[0] : null,
  filters: new Map(),                // by column, see filters.js
  shown: new Uint8Array(n).fill(1),  // by row: what no filter leaves out
  isFolded: false,                   // of near-duplicates only one is shown
  opened: new Set(),                 // those that are all shown nevertheless
  chosen: new Int32Array(0),         // rows, in the order of their choosing
  isChosen: new Uint8Array(n),
  matches: null,                     // rows that the search has found, null without a search
  tool: "pan",
  hasNames: true,
  hasImages: true,
  current: -1,                       // the row under the pointer or the arrow keys
};

// Who wants to know of what: "chosen", "shown", "column", "labels", "current", "matches", "view".
const listeners = {};
export function on(names, action) {
  for (const name of names.split(" ")) (listeners[name] ??= []).push(action);
}
export function tell(name) { for (const action of listeners[name] ?? []) action() }

// What takes back each of the last steps.
const MOST_UNDONE = 50;
const past = [];
export const canUndo = () => past.length > 0;
export function remember(takeBack) {
  past.push(takeBack);
  if (past.length > MOST_UNDONE) past.shift();
}
export function undo() {
  past.pop()?.();
}

function setChosen(rows) {
  state.chosen = rows;
  state.isChosen.fill(0);
  for (const row of rows) state.isChosen[row] = 1;
  tell("chosen");
}

// Each row once, those of `but` left out: in arrays, as sets of a hundred thousand are slow.
function distinct(rows, but = []) {
  const seen = new Uint8Array(n), kept = new Int32Array(rows.length);
  let size = 0;
  for (const row of but) seen[row] = 1;
  for (const row of rows) if (!seen[row]) { seen[row] = 1; kept[size++] = row }
  return kept.slice(0, size);
}

export function choose(rows, how = "replace") {
  const before = state.chosen;
  const after = how === "subtract" ? distinct(before, rows)
    : distinct(how === "add" ? Array.from(before).concat(Array.from(rows)) : rows);
  remember(() => setChosen(before));
  setChosen(after);
}

export function toggle(row) {
  if (row >= 0) choose([row], state.isChosen[row] ? "subtract" : "add");
}

export function label(rows, name) {
  if (!rows.length) return;
  const takeBack = labels.assign(Array.from(rows), name);
  remember(() => { takeBack(); labelled() });
  const isFirst = labelColumn.counts[0] === n;
  labelled();
  if (isFirst && state.column !== labelColumn) setColumn(labelColumn);
}

export function labelled() {
  labelColumn.counts = labels.counts;
  labelColumn.colors = labels.names.map((_, i) => page.palette[i % page.palette.length]);
  labelColumn.centers = middles(labelColumn);
  tell("labels");
}

// The row of each group that is nearest to the group's mean.
function middles({ codes, names }) {
  const sums = names.map(() => [0, ...axes.map(() => 0)]);
  const each = action => codes.forEach((code, row) => { if (code) action(sums[code - 1], row, code - 1) });
  each((sum, row) => { sum[0]++; axes.forEach((axis, i) => { sum[i + 1] += axis[row] }) });
  const centers = names.map(() => null), least = names.map(() => Infinity);
  each((sum, row, group) => {
    const far = Math.hypot(...axes.map((axis, i) => axis[row] - sum[i + 1] / sum[0]));
    if (far < least[group]) { least[group] = far; centers[group] = axes.map(axis => axis[row]) }
  });
  return centers;
}

export function setColumn(column) {
  state.column = column;
  tell("column");
}

// A filter, or null for none.
export function setFilter(column, filter) {
  if (filter) state.filters.set(column, filter); else state.filters.delete(column);
  showAgain();
}

export function showAgain() {
  const { shown, filters, isFolded, opened } = state;
  shown.fill(1);
  for (const [column, filter] of filters) applyFilter(shown, column, filter);
  if (isFolded) {
    for (let row = 0; row < n; row++) {
      const first = standFor[row];
      // Another of the group takes the place of one that a filter leaves out.
      if (first !== row && !opened.has(first) && (shown[first] || copiesOf(row).find(other => shown[other]) !== row)) shown[row] = 0;
    }
  }
  tell("shown");
}

export function rowsOf(mask) {
  const rows = [];
  for (let row = 0; row < n; row++) if (mask[row]) rows.push(row);
  return rows;
}

export const nameOf = row => page.names ? page.names[row] : "row " + row;
export const count = number => number.toLocaleString("en");
export const short = number => String(Number(number.toPrecision(5)));
const dateOf = time => new Date(time).toISOString().slice(0, 16).replace("T00:00", "").replace("T", " ");
export const valueOf = (column, value) => column.is_date ? dateOf(value) : short(value);

export function colorsOf(column) {
  if (!column) return [page.grey, page.plain];
  const { colors, kind } = column;
  if (kind === "groups" || !isDark()) return [page.grey, ...colors];
  // The dark end of the scale does not show on a dark ground.
  const from = Math.round(colors.length / 6), share = (colors.length - 1 - from) / (colors.length - 1);
  return [page.grey, ...colors.map((_, i) => colors[Math.round(from + i * share)])];
}

export function textOf(column, row) {
  if (column.kind === "groups") return column.names[column.codes[row] - 1] ?? column.none;
  return column.codes[row] ? valueOf(column, column.values[row]) : column.none;
}

// What is known of a point in words: its name, its groups and dates.
export function wordsOf(row) {
  const facts = columns.filter(column => (column.names && !column.is_selection) || column.is_date);
  const known = facts.filter(column => column.codes[row]);
  return [nameOf(row), ...known.map(column => textOf(column, row))].join("\n").toLowerCase();
}

// Calls made before the next frame are one.
export function framed(action) {
  let isWaiting = false;
  return () => {
    if (isWaiting) return;
    isWaiting = true;
    requestAnimationFrame(() => { isWaiting = false; action() });
  };
}
