// Naming what is selected: by a field, by keys, from files; kept in the browser from visit to visit.

import { fileBytes, fileText } from "../../pages/_web/bytes.js";
import { $, append, page } from "../../pages/_web/page.js";
import { count, label, labelColumn, labelled, labels, n, on, remember, state } from "./data.js";
import { matchLabels, parseLabels, tidy } from "./labels.js";
import { download, meant } from "./tray.js";

const MOST_PROPOSED = 100;
const box = $("#labels"), field = box.querySelector("input"), file = box.querySelector("[type=file]");
const place = "dinov2_sklearn labels " + page.id;
// Names on the keys 1 to 9. One that is used again keeps its key; a new one takes that unused longest.
let keyed = [], used = new Map(), steps = 0;

const say = text => { $("#labels-said").textContent = text };

export function give(rows, name) {
  if (!rows.length) return say("Nothing is selected.");
  const wanted = tidy(name);
  label(rows, wanted);
  const given = labels.names[labels.codes[rows[0]] - 1] ?? "";
  if (given) useKey(given);
  const spelled = given !== wanted ? `, as ${given} is spelled already` : "";
  say(wanted ? `${count(rows.length)} labelled ${given}${spelled}.` : `${count(rows.length)} unlabelled.`);
  fill();
}

function useKey(name) {
  used.set(name, ++steps);
  if (keyed.includes(name)) return;
  if (keyed.length < 9) keyed.push(name);
  else keyed[keyed.indexOf([...keyed].sort((one, other) => used.get(one) - used.get(other))[0])] = name;
}

// What the keys are for: the selection or, without one, the image under the pointer.
export function giveByKey(key, rows = meant()) {
  const name = keyed[key - 1];
  if (!name) return say(`No name is on the key ${key} yet.`);
  give(rows.length || state.current < 0 ? rows : [state.current], name);
}

export const recent = () => keyed;

function fill() {
  const recentBox = $("#recent"), done = n - labelColumn.counts[0];
  recentBox.replaceChildren();
  keyed.forEach((name, i) => {
    const button = append(recentBox, "button", "", { type: "button", title: `Label the selection ${name} (${i + 1})` });
    append(button, "kbd", String(i + 1));
    append(button, "span", name);
    button.addEventListener("click", () => giveByKey(i + 1));
  });
  box.querySelector("output").textContent = done ? `${count(done)} labelled, ${count(n - done)} left` : "";
  for (const id of ["#save-labels", "#save-labels-json"]) $(id).disabled = !done;
}

// A list of thousands would stall the field: only what begins or goes on like this.
export function propose(text) {
  const known = $("#known"), wanted = tidy(text).toLowerCase();
  const names = labels.names.filter((name, i) => labelColumn.counts[i + 1] && name.toLowerCase().includes(wanted));
  const begins = name => name.toLowerCase().startsWith(wanted) ? 0 : 1;
  names.sort((one, other) => begins(one) - begins(other));
  known.replaceChildren();
  for (const name of names.slice(0, MOST_PROPOSED)) append(known, "option", "", { value: name });
}

let wait, kept = "";
function keep() {
  clearTimeout(wait);
  const text = JSON.stringify({ ...labels.pack(), keyed });
  if (text === kept) return;
  kept = text;
  try { localStorage.setItem(place, text) } catch {
    say("This browser keeps no labels for this page: save them before you leave.");
  }
}

export function recall() {
  let text = null;
  try { text = localStorage.getItem(place) } catch { return }
  if (!text || text === kept) return;
  kept = text;
  const stored = JSON.parse(text);
  labels.unpack(stored);
  keyed = stored.keyed;
  keyed.forEach(useKey);
  labelled();
}

async function load(source) {
  let matched;
  try { matched = matchLabels(parseLabels(fileText(new Uint8Array(await source.arrayBuffer()))), page.names, n) } catch (error) {
    return say(`${source.name} cannot be read: ${error.message}.`);
  }
  const here = matched.filter(({ rows }) => rows.length), missing = matched.length - here.length;
  if (!here.length) return say(`None of the ${count(matched.length)} labels of ${source.name} is for an image of this page.`);
  const rows = here.flatMap(record => record.rows), codes = here.flatMap(({ rows, label }) => rows.map(() => labels.codeOf(label)));
  const moved = here.filter(({ isMoved }) => isMoved).length;
  const conflicts = rows.length - new Set(rows).size;
  const takeBack = labels.set(rows, codes);
  remember(() => { takeBack(); labelled() });
  for (const name of [...labels.names].slice(0, 9)) useKey(name);
  labelled();
  say([`${count(here.length)} labels taken from ${source.name}.`,
    moved ? `${count(moved)} of them by the images' names alone: their paths there are others.` : "",
    missing ? `${count(missing)} are for images that this page does not have.` : "",
    conflicts ? `${count(conflicts)} images have two labels there: the later one is taken.` : ""].join(" ").trim());
}

const pathOf = row => page.names?.[row] ?? null;
function save(kind) {
  const text = kind === "csv" ? labels.csv(pathOf) : labels.json(pathOf);
  download("labels." + kind, fileBytes(text), kind === "csv" ? "text/csv" : "application/json");
}

box.querySelector("form").addEventListener("submit", event => {
  event.preventDefault();
  if (!tidy(field.value)) return say("Give a name.");
  give(meant(), field.value);
  field.value = "";
  field.blur();
});
for (const input of document.querySelectorAll("input[list=known]")) {
  for (const kind of ["focus", "input"]) input.addEventListener(kind, () => propose(input.value));
}
$("#unlabel").addEventListener("click", () => give(meant(), ""));
$("#save-labels").addEventListener("click", () => save("csv"));
$("#save-labels-json").addEventListener("click", () => save("json"));
$("#load-labels").addEventListener("click", () => file.click());
file.addEventListener("change", () => { if (file.files.length) load(file.files[0]); file.value = "" });
addEventListener("dragover", event => event.preventDefault());
addEventListener("drop", event => {
  event.preventDefault();
  if (event.dataTransfer.files.length) load(event.dataTransfer.files[0]);
});
addEventListener("storage", event => { if (event.key === place) recall() });
addEventListener("pagehide", keep);
on("labels", () => { say(""); fill(); clearTimeout(wait); wait = setTimeout(keep, 300) });
fill();
