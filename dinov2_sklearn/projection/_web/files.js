// A selection as the command line writes it, in each of its formats.

import { quoted } from "../../pages/_web/bytes.js";

export const COLUMNS = ["rank", "index", "filepath", "score", "cluster", "distance_to_selected"];
const COCO = "images selected by dinov2_sklearn";

// RFC 4180, as Python's csv module writes it.
export function writeCsv(header, lines) {
  const cell = value => {
    const text = String(value ?? "");
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return [header, ...lines].map(line => line.map(cell).join(",") + "\r\n").join("");
}

export function parseCsv(text) {
  const lines = [[]];
  // A cell with or without quotes, and what ends it.
  for (const [, quotes, plain, end] of text.matchAll(/(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r\n|\n|\r|$)/g)) {
    lines.at(-1).push(quotes === undefined ? plain : quotes.replaceAll('""', '"'));
    if (end === "") break;
    if (end !== ",") lines.push([]);
  }
  return lines.filter(line => line.length > 1 || line[0]);
}

// What is known of each row, by the names of `COLUMNS` and of further columns.
export function recordsOf(rows, nameOf, more = {}) {
  return rows.map((row, i) => {
    const record = { rank: i + 1, index: row, filepath: nameOf(row), score: null, cluster: null, distance_to_selected: null };
    for (const [name, valueOf] of Object.entries(more)) record[name] = valueOf(row);
    return record;
  });
}

export function csvOf(records) {
  const header = records.length ? Object.keys(records[0]) : COLUMNS;
  return writeCsv(header, records.map(record => Object.values(record)));
}

export function listOf(records) {
  for (const { filepath } of records) {
    if (!filepath || /[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]/.test(filepath)) {
      throw new Error(`The path ${JSON.stringify(filepath)} is empty or has a line break, which a list of one path a line cannot hold. Take CSV or JSON.`);
    }
  }
  return records.map(({ filepath }) => filepath + "\n").join("");
}

const further = record => Object.fromEntries(Object.entries(record).filter(([name]) => !COLUMNS.includes(name)));
const dump = contents => JSON.stringify(contents, null, 1) + "\n";

export function selectionOf(records, about) {
  const hasMore = records.length && Object.keys(further(records[0])).length;
  const hasPaths = records.every(({ filepath }) => filepath !== null);
  return dump({
    ...about, indices: records.map(({ index }) => index),
    paths: hasPaths ? records.map(({ filepath }) => filepath) : null,
    ...hasMore ? { picks: records } : {},
  });
}

export function cocoOf(records, sizes, folder) {
  const images = records.map((record, i) => ({
    id: record.rank, file_name: relativeTo(folder, record.filepath), width: sizes[i][0], height: sizes[i][1],
    license: 0, rank: record.rank, ...further(record),
  }));
  return dump({ info: { description: COCO }, licenses: [{ id: 0, name: "", url: "" }], images, annotations: [], categories: [] });
}

export function tasksOf(records, folder) {
  if (!folder) throw new Error("Label Studio finds images relative to its LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT: give that folder.");
  return dump(records.map(({ rank, index, score, cluster, ...record }) => {
    const name = relativeTo(folder, record.filepath);
    if (/^https?:/.test(name)) throw new Error(`Label Studio's local storage holds files, not URLs such as ${name}.`);
    return { data: { rank, index, score, cluster, ...further(record), image: "/data/local-files/?d=" + quoted(name) } };
  }));
}

function relativeTo(folder, path) {
  if (/#(.*&)?(xywh|t|page|row)=[^/]*$/.test(path)) {
    throw new Error(`${path} is a part of a file, which this format has no room for: take CSV or JSON, which write_selection writes in any format.`);
  }
  const name = path.replaceAll("\\", "/"), root = folder.replaceAll("\\", "/").replace(/\/+$/, "");
  if (!folder || root === "." || /^https?:/.test(name)) return name;
  if (!name.startsWith(root + "/")) throw new Error(`${path} is not inside the folder ${folder}.`);
  return name.slice(root.length + 1);
}

// The folder that all paths lie in.
export function commonFolder(paths) {
  if (!paths.length) return "";
  let common = paths[0].replaceAll("\\", "/").split("/").slice(0, -1);
  for (const path of paths) {
    const parts = path.replaceAll("\\", "/").split("/");
    const differs = common.findIndex((part, i) => part !== parts[i]);
    if (differs >= 0) common = common.slice(0, differs);
  }
  return common.join("/");
}
