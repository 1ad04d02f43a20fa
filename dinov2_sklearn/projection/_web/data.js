// The points and their columns, and what is chosen and shown of them.

// Asked once: a browser takes the oldest context away when there are some sixteen.
const hasWebGL = Boolean(document.createElement("canvas").getContext("webgl"));

const n = page.n_points, is3d = page.axes.length === 3;
const [xs, ys, zs] = page.axes.map(text => numbersOf(Float32Array, text));

// Every column ends as one code a point, 0 for no value, and one colour a code.
const columns = page.columns.map(column => {
  if (column.kind === "groups") return { ...column, codes: numbersOf(Int32Array, column.codes) };
  const values = numbersOf(Float64Array, column.values), steps = column.colors.length - 1;
  const span = column.high - column.low || 1;
  const codes = Int32Array.from(values, value =>
    Number.isFinite(value) ? 1 + Math.round((value - column.low) / span * steps) : 0);
  return { ...column, values, codes };
});
const ranks = new Map(page.picks.map((row, i) => [row, i + 1]));

const state = {
  column: columns[0] ?? null,
  hidden: new Set(),                 // codes of `column` that the legend has put out
  shown: new Uint8Array(n).fill(1),  // by row
  chosen: new Set(),                 // rows, in the order of their choosing
  past: [],                          // what was chosen before, for undo
  matches: null,                     // rows that the search has found, null without a search
  tool: "pan",
  names: true,
  current: -1,                       // the row under the pointer or the arrow keys
};

function rowsOf(mask) {
  const rows = [];
  for (let row = 0; row < n; row++) if (mask[row]) rows.push(row);
  return rows;
}

const nameOf = row => page.names ? page.names[row] : "row " + row;
const short = number => String(Number(number.toPrecision(5)));
const dateOf = time => new Date(time).toISOString().slice(0, 16).replace("T00:00", "").replace("T", " ");
const valueOf = (column, value) => column.is_date ? dateOf(value) : short(value);

function colorsOf(column) {
  const { colors, kind } = column;
  if (kind === "groups" || !isDark()) return [page.grey, ...colors];
  // The dark end of the scale does not show on a dark ground.
  const from = Math.round(colors.length / 6), share = (colors.length - 1 - from) / (colors.length - 1);
  return [page.grey, ...colors.map((_, i) => colors[Math.round(from + i * share)])];
}

function textOf(column, row) {
  if (column.kind === "groups") return column.names[column.codes[row] - 1] ?? column.none;
  return column.codes[row] ? valueOf(column, column.values[row]) : column.none;
}
