// The selection as a grid: sorted, marked, lessened, and saved as the command line saves it.

import { fileBytes } from "../../pages/_web/bytes.js";
import { $, append, page } from "../../pages/_web/page.js";
import { linkOf, openImage, pictureOf, pictures, sizeOf } from "../../pages/_web/pictures.js";
import { split } from "./card.js";
import { camera, canUndo, choose, columns, copiesOf, count, framed, labels, n, nameOf, on, ranks, standFor, state } from "./data.js";
import { cocoOf, commonFolder, csvOf, listOf, recordsOf, selectionOf, tasksOf } from "./files.js";
import { farnessFrom, hasSketch, neighborsOf } from "./likeness.js";

const tray = $("#pictures"), content = tray.firstElementChild, sort = $("#sort");
const marked = new Set();
let sorted = [], last = -1, anchor = -1;  // the row that was clicked last; the row that others are compared with
const showRow = { action: () => {} };
export const onShow = action => { showRow.action = action };

// Rows that a step is for: the marked ones, or all that is chosen.
export const meant = () => marked.size ? [...state.chosen].filter(row => marked.has(row)) : Array.from(state.chosen);

const collator = new Intl.Collator("en", { numeric: true });
const sorts = {
  chosen: rows => rows,
  name: rows => rows.map(row => [row, nameOf(row)]).sort((one, other) => collator.compare(one[1], other[1])).map(([row]) => row),
  pick: rows => by(rows, row => ranks.get(row) ?? Infinity),
  like: rows => { const far = farnessFrom(anchor < 0 ? rows[0] : anchor); return by(rows, row => far[row]) },
};
// By key, equal ones in the order of choosing; without a value last.
export function by(rows, keyOf) {
  const keys = new Map(rows.map(row => [row, keyOf(row)]));
  const key = row => Number.isNaN(keys.get(row)) ? Infinity : keys.get(row);
  return rows.toSorted((one, other) => key(one) < key(other) ? -1 : key(one) > key(other) ? 1 : 0);
}

function fillSorts() {
  const names = [["chosen", "as chosen"], ["name", "by name"]];
  if (page.picks.length) names.push(["pick", "by pick"]);
  if (hasSketch) names.push(["like", "by likeness to the last clicked"]);
  columns.forEach((column, i) => {
    if (column.kind !== "scale") return;
    sorts[i] = rows => by(rows, row => column.values[row]);
    names.push([i, "by " + column.title]);
  });
  for (const [value, name] of names) append(sort, "option", name, { value });
}

export function fillTray() {
  const rows = sort.value === "chosen" ? state.chosen : Array.from(state.chosen);
  for (const row of marked) if (!state.isChosen[row]) marked.delete(row);
  sorted = sorts[sort.value](rows);
  $("#tray h2 output").textContent = count(rows.length) + (marked.size ? `, ${count(marked.size)} marked` : "");
  $("#undo").disabled = !canUndo();
  $("#actions").hidden = $("#saving").hidden = $("#clear").hidden = rows.length === 0;
  $("#hint").hidden = rows.length > 0;
  for (const id of ["#remove", "#keep"]) $(id).disabled = !marked.size;
  $("#said").textContent = "";
  drawTray();
}

// Only the cells that are seen are there: thousands do not stall.
function layout() {
  const style = getComputedStyle(tray), side = pictures ? parseFloat(style.getPropertyValue("--cell")) : 0;
  const height = side || parseFloat(style.getPropertyValue("--line"));
  const across = side ? Math.max(1, Math.floor(content.clientWidth / side)) : 1;
  return { across, width: content.clientWidth / across, height };
}

const cells = new Map();
const drawTray = framed(() => {
  const { across, width, height } = layout();
  content.style.height = Math.ceil(sorted.length / across) * height + "px";
  const first = Math.max(0, Math.floor(tray.scrollTop / height) - 2) * across;
  const until = Math.min(sorted.length, (Math.ceil((tray.scrollTop + tray.clientHeight) / height) + 2) * across);
  const seen = new Set(sorted.slice(first, until));
  for (const [row, cell] of cells) if (!seen.has(row)) { cell.remove(); cells.delete(row) }
  for (let i = first; i < until; i++) {
    const row = sorted[i], cell = cells.get(row) ?? newCell(row);
    Object.assign(cell.style, { left: i % across * width + "px", top: Math.floor(i / across) * height + "px", width: width + "px", height: height + "px" });
    cell.setAttribute("aria-pressed", String(marked.has(row)));
    cell.dataset.label = labels.nameOf(row) ?? "";
    if (cell !== content.children[i - first]) content.insertBefore(cell, content.children[i - first] ?? null);
  }
});

function newCell(row) {
  const cell = append(content, "button", "", { type: "button", title: nameOf(row) });
  cell.dataset.row = row;
  cell.append(pictureOf(row, 128) ?? split(nameOf(row))[1]);
  cell.setAttribute("aria-label", nameOf(row));
  cells.set(row, cell);
  return cell;
}

// A click marks and shows; with Shift all between are marked, as in a list of files.
function clickCell(event) {
  const row = Number(event.target.closest("[data-row]")?.dataset.row ?? -1);
  if (row < 0) return;
  if (event.shiftKey && last >= 0) {
    const [from, to] = [sorted.indexOf(last), sorted.indexOf(row)].sort((one, other) => one - other);
    for (const between of sorted.slice(Math.max(0, from), to + 1)) marked.add(between);
  } else if (!marked.delete(row)) marked.add(row);
  last = row;
  if (!event.shiftKey) anchor = row;
  fillTray();
  showRow.action(row);
}

function addNear() {
  const rows = meant(), found = rows.flatMap(row => neighborsOf(row) ?? []);
  if (!found.length) return say("Neighbours are known of the picked and of a sample alone.");
  choose(found.filter(row => state.shown[row]), "add");
}

const say = text => { $("#said").textContent = text };

export function download(name, parts, type) {
  const link = document.createElement("a");
  link.download = name;
  link.href = URL.createObjectURL(new Blob(parts, { type }));
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

const plainName = row => page.names ? page.names[row] : null;
const records = () => recordsOf(Array.from(state.chosen), plainName,
  state.chosen.some(row => labels.codes[row]) ? { label: row => labels.nameOf(row) } : {});
const about = () => ({ format: page.format, version: 1, title: page.title, n_points: n, created: new Date().toISOString() });

// Each: name of the file, and its text.
const writers = {
  json: () => ["selection.json", selectionOf(records(), about())],
  csv: () => ["selection.csv", csvOf(records())],
  txt: () => ["selection.txt", listOf(records())],
  coco: async () => ["selection_coco.json", cocoOf(records(), await allSizes(), $("#folder").value)],
  "label-studio": () => ["tasks.json", tasksOf(records(), $("#folder").value)],
};

async function allSizes() {
  const sizes = [];
  for (const [i, row] of state.chosen.entries()) {
    if (i % 100 === 99) say(`Reading sizes: ${count(i + 1)} of ${count(state.chosen.length)}`);
    try { sizes.push(await sizeOf(row)) } catch {
      throw new Error(`COCO keeps each image's size, and ${nameOf(row)} cannot be opened by the browser.`);
    }
  }
  return sizes;
}

async function save(event) {
  event.preventDefault();
  const format = $("#format").value;
  try {
    if (!page.names && format !== "json") throw new Error("The page has row numbers only, no paths: only JSON can hold these.");
    const [name, text] = await writers[format]();
    download(name, fileBytes(text), name.endsWith(".json") ? "application/json" : "text/plain");
    say(`Saved ${count(state.chosen.length)} as ${name}.`);
  } catch (error) { say(error.message) }
}

async function copy() {
  const rows = [...state.chosen], text = rows.map(row => page.names ? page.names[row] : String(row)).join("\n") + "\n";
  try {
    await navigator.clipboard.writeText(text);
  } catch {  // where the browser gives a local file no clipboard
    const area = append(document.body, "textarea", text);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  say(`Copied ${count(rows.length)}.`);
}

function chooseFormat() {
  const format = $("#format").value, folder = $("#folder");
  folder.hidden = !["coco", "label-studio"].includes(format);
  if (!folder.hidden && !folder.value && page.names) folder.value = commonFolder(page.names);
}

export function removeMarked() { if (marked.size) choose([...marked], "subtract") }

fillSorts();
if (!pictures) tray.classList.add("texts");
$("#add-near").hidden = !page.neighbors;
$("#add-copies").hidden = !standFor;
sort.addEventListener("change", () => { tray.scrollTop = 0; fillTray() });
tray.addEventListener("scroll", drawTray);
new ResizeObserver(drawTray).observe(tray);
content.addEventListener("click", clickCell);
content.addEventListener("dblclick", event => {
  const row = event.target.closest("[data-row]")?.dataset.row;
  if (row && linkOf(row)) openImage(row);
});
for (const [id, action] of Object.entries({
  remove: removeMarked, keep: () => choose(meant()), copy, clear: () => choose([]),
  "add-near": addNear, "add-copies": () => choose(meant().flatMap(copiesOf), "add"),
  wide: () => $("#wide").setAttribute("aria-pressed", String(document.body.classList.toggle("wide"))),
})) $("#" + id).addEventListener("click", action);
$("#saving").addEventListener("submit", save);
$("#format").addEventListener("change", chooseFormat);
on("chosen", fillTray);
on("labels", () => { $("#undo").disabled = !canUndo(); drawTray() });
fillTray();
