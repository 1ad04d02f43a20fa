// Labels of rows: given, taken back, kept, and read from files.

import { parseCsv, writeCsv } from "./files.js";

const PATHS = ["path", "filepath", "image_path", "file_name", "image"];
const NONE = ["", "-1"];  // as `load_labels` has it

// One spelling of a name: no spaces around it, single ones within.
export const tidy = name => name.normalize("NFC").replace(/\s+/g, " ").trim();
const folded = name => tidy(name).toLowerCase();

export class Labels {
  constructor(n) {
    this.codes = new Int32Array(n);  // 0 for none
    this.names = [];                 // of the codes from 1
    this.known = new Map();          // codes by their names in lower case
  }

  get counts() {
    const counts = new Array(this.names.length + 1).fill(0);
    for (const code of this.codes) counts[code]++;
    return counts;
  }

  // The code of a name; one that differs in case or spaces alone is the one that there is.
  codeOf(name) {
    const key = folded(name);
    if (NONE.includes(key)) return 0;
    if (!this.known.has(key)) this.known.set(key, this.names.push(tidy(name)));
    return this.known.get(key);
  }

  nameOf(row) { return this.names[this.codes[row] - 1] ?? null }

  // Names rows, or takes their names away where the name is empty; returns what takes it back.
  assign(rows, name) { return this.set(rows, rows.map(() => this.codeOf(name))) }

  set(rows, codes) {
    const before = rows.map(row => this.codes[row]);
    rows.forEach((row, i) => { this.codes[row] = codes[i] });
    return () => this.set(rows, before);
  }

  // Rows as steps from one to the next are short, also of very many.
  pack() {
    const rows = this.names.map(() => []), last = this.names.map(() => 0);
    this.codes.forEach((code, row) => {
      if (!code) return;
      rows[code - 1].push(row - last[code - 1]);
      last[code - 1] = row;
    });
    return { names: this.names, rows };
  }

  unpack({ names, rows }) {
    this.codes.fill(0);
    names.forEach((name, i) => {
      let row = 0;
      const code = this.codeOf(name);
      for (const step of rows[i]) { row += step; if (row < this.codes.length) this.codes[row] = code }
    });
  }

  records(pathOf) {
    const labelled = [];
    this.codes.forEach((code, row) => {
      if (code) labelled.push({ path: pathOf(row), label: this.names[code - 1], row });
    });
    return labelled;
  }

  csv(pathOf) {
    const records = this.records(pathOf);
    return writeCsv(["path", "label", "row"], records.map(({ path, label, row }) => [path ?? "", label, row]));
  }

  json(pathOf) { return JSON.stringify(this.records(pathOf), null, 1) + "\n" }
}

// Reads labels from a CSV or a JSON as [path, label, row] each; throws where there are none.
export function parseLabels(text) {
  const trimmed = text.replace(/^\ufeff/, "").trimStart();
  const records = /^[[{]/.test(trimmed) ? fromJson(trimmed) : fromCsv(trimmed);
  return records.map(record => {
    const path = PATHS.map(name => record[name]).find(value => value) ?? null;
    const row = /^\d+$/.test(String(record.row ?? "")) ? Number(record.row) : null;
    return { path, row, label: String(record.label ?? "") };
  }).filter(({ label }) => !NONE.includes(tidy(label)));
}

function fromJson(text) {
  const contents = JSON.parse(text);
  if (Array.isArray(contents)) return contents;
  const paths = Object.entries(contents);
  if (paths.length && paths.every(([, label]) => typeof label === "string")) {
    return paths.map(([path, label]) => ({ path, label }));
  }
  throw new Error("it is a JSON, but of no labels");
}

function fromCsv(text) {
  const [header = [], ...lines] = parseCsv(text);
  if (!header.includes("label") || ![...PATHS, "row"].some(name => header.includes(name))) {
    throw new Error(`its first line is ${JSON.stringify(header.join(",").slice(0, 60))}, and a file of labels has the columns path and label`);
  }
  return lines.map(line => Object.fromEntries(header.map((name, i) => [name, line[i] ?? ""])));
}

// The rows that labels of a file are for: by path where the page has paths, else by number. An
// image that moved is found by its name, where one image of the page and of the file has it.
export function matchLabels(records, names, n) {
  if (!names) return records.map(({ row, label }) => ({ label, rows: row !== null && row < n ? [row] : [] }));
  const byPath = placesOf(names), byName = placesOf(names.map(lastOf)), asked = placesOf(records.map(({ path }) => lastOf(path)));
  return records.map(({ path, label }) => {
    if (byPath.has(path)) return { label, rows: byPath.get(path) };
    const rows = byName.get(lastOf(path)) ?? [], isMoved = rows.length === 1 && asked.get(lastOf(path)).length === 1;
    return { label, rows: isMoved ? rows : [], isMoved };
  });
}

const lastOf = path => (path ?? "").split(/[\\/]/).at(-1);

function placesOf(values) {
  const places = new Map();
  values.forEach((value, i) => { if (!places.has(value)) places.set(value, []); places.get(value).push(i) });
  return places;
}
