// One image after another, large, to be named or passed by.

import { $, append, page } from "../../pages/_web/page.js";
import { largePicture } from "../../pages/_web/pictures.js";
import { fillFacts } from "./card.js";
import { columns, count, labels, nameOf, ranks, rowsOf, state, undo } from "./data.js";
import { give, recent } from "./labelling.js";
import { neighborsOf } from "./likeness.js";
import { by } from "./tray.js";

const dialog = $("#reviewing"), find = selector => dialog.querySelector(selector);
const orders = [["as chosen", rows => rows]];
if (page.picks.length) orders.push(["by pick", rows => by(rows, row => ranks.get(row) ?? Infinity)]);
for (const column of columns.filter(column => column.kind === "scale")) {
  const key = row => column.codes[row] ? column.values[row] : Infinity;
  orders.push([column.title + ", low first", rows => by(rows, key)]);
  orders.push([column.title + ", high first", rows => by(rows, row => column.codes[row] ? -column.values[row] : Infinity)]);
}
let chosen = [], rows = [], at = 0;  // as they came, and in the order asked for
let named = [];  // in turn, since the review began

// Of the selection, else of the picks, else of all that is shown.
export function review() {
  const picks = page.picks.filter(row => state.shown[row]);
  chosen = state.chosen.length ? Array.from(state.chosen) : picks.length ? picks : rowsOf(state.shown);
  if (!chosen.length) return;
  named = [];
  reorder();
  dialog.showModal();
  find(".large").focus();
}

function reorder() {
  rows = orders[find("select").selectedIndex][1](chosen);
  at = 0;
  show();
}

// Names that this image may have, likeliest first: what it is called, and what its neighbours are.
function proposals(row) {
  const near = new Map();
  for (const other of neighborsOf(row) ?? []) {
    const name = labels.nameOf(other);
    if (name) near.set(name, (near.get(name) ?? 0) + 1);
  }
  const voted = [...near].sort((one, other) => other[1] - one[1]).map(([name]) => name);
  const told = ["label", "suggested label"].map(title => columns.find(column => column.title === title && column.names));
  const names = [labels.nameOf(row), ...told.map(column => column?.names[column.codes[row] - 1]), ...voted.slice(0, 1)];
  return [...new Set(names.filter(name => name))];
}

function show() {
  const row = rows[at];
  find("output").textContent = `${count(at + 1)} of ${count(rows.length)}`;
  find(".large").replaceChildren(largePicture(row, 512));
  find("p.name").textContent = nameOf(row);
  fillFacts(find("dl"), row);
  const box = find(".proposals");
  box.replaceChildren();
  const buttons = [...proposals(row).map((name, i) => [i ? "" : "Enter", name]), ...recent().map((name, i) => [i + 1, name])];
  for (const [key, name] of buttons) {
    const button = append(box, "button", "", { type: "button" });
    if (key) append(button, "kbd", String(key));
    append(button, "span", name);
    button.setAttribute("aria-pressed", String(name === labels.nameOf(row)));
    button.addEventListener("click", () => nameIt(name));
  }
}

function nameIt(name) {
  give([rows[at]], name);
  named.push(rows[at]);
  go(1);
}

// Whatever was passed since, the image that was named last is shown again.
function takeBack() {
  if (!named.length) return;
  undo();
  at = rows.indexOf(named.pop());
  show();
}

function go(step) {
  const isPast = at + step >= rows.length;
  at = Math.min(rows.length - 1, Math.max(0, at + step));
  show();
  if (isPast) find("output").textContent += ": that was the last one";
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  event.stopPropagation();
  if (event.target.matches("input, select, button") && event.key !== "Escape") return;
  const [first] = proposals(rows[at]);
  const keys = {
    Enter: () => { if (first) nameIt(first) }, s: () => go(1), ArrowRight: () => go(1), ArrowLeft: () => go(-1), u: takeBack,
  };
  const action = /^[1-9]$/.test(event.key) && recent()[event.key - 1]
    ? () => nameIt(recent()[event.key - 1]) : keys[event.key];
  if (!action) return;
  event.preventDefault();
  action();
}

for (const [title] of orders) append(find("select"), "option", title);
find(".large").tabIndex = -1;
find("select").addEventListener("change", () => { reorder(); find(".large").focus() });
find(".leave").addEventListener("click", () => dialog.close());
find(".back").addEventListener("click", () => go(-1));
find(".skip").addEventListener("click", () => go(1));
find("form").addEventListener("submit", event => {
  event.preventDefault();
  const field = find("form input");
  if (!field.value.trim()) return;
  nameIt(field.value);
  field.value = "";
  find(".large").focus();
});
dialog.addEventListener("keydown", onKey);
$("#review").addEventListener("click", review);
