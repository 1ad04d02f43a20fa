// The columns: what the colours mean, and what is left out by them.

import { $, append } from "../../pages/_web/page.js";
import { choose, colorsOf, columns, count, labelColumn, on, rowsOf, setColumn, setFilter, state, valueOf } from "./data.js";
import { hasWords, histogramOf, wordsIn } from "./filters.js";

const MOST_GROUPS = 200, STEPS = 400;
const panel = $("#legend");
const open = new Set();  // columns that are unfolded beside that of the colours
const searched = new Map();  // what was searched for among the groups of a column

export function fillPanel() {
  const { scrollTop } = panel, key = document.activeElement?.dataset?.key;
  panel.replaceChildren();
  for (const column of columns) {
    if (column === labelColumn && column.counts[0] === state.shown.length && state.column !== column) continue;
    fillColumn(append(panel, "div", "", { className: "column" }), column);
  }
  panel.hidden = !panel.children.length;
  panel.scrollTop = scrollTop;
  if (key) [...panel.querySelectorAll("[data-key]")].find(element => element.dataset.key === key)?.focus();
}

function button(parent, text, title, key, action) {
  const made = append(parent, "button", text, { type: "button", title });
  made.dataset.key = key;
  made.addEventListener("click", action);
  return made;
}

function fillColumn(box, column) {
  const { title } = column, isOpen = column === state.column || open.has(column), filter = state.filters.get(column);
  const head = append(box, "h2");
  const name = button(head, title, "Show or hide what is in it", title + " open", () => {
    if (!open.delete(column)) open.add(column);
    fillPanel();
  });
  name.disabled = column === state.column;
  name.setAttribute("aria-expanded", String(isOpen));
  if (filter) button(head, "All", "Leave nothing out by this", title + " all", () => setFilter(column, null)).className = "all";
  if (column !== state.column) button(head, "Colour", "Colour the points by this", title + " colour", () => setColumn(column));
  if (!isOpen) return;
  const list = append(box, "div", "", { className: "list" });
  if (column.kind === "scale") fillScale(list, column, filter); else fillGroups(list, column);
}

function fillGroups(list, column) {
  const colors = colorsOf(column === state.column ? column : null);
  const found = append(list, "div");
  const words = () => wordsIn(searched.get(column) ?? "");
  const fill = () => {
    found.replaceChildren();
    const codes = column.names.map((_, i) => i + 1).filter(code =>
      column.counts[code] && hasWords(column.names[code - 1].toLowerCase(), words()));
    if (column === labelColumn) codes.sort((one, other) => column.counts[other] - column.counts[one]);
    for (const code of codes.slice(0, MOST_GROUPS)) addGroup(found, column, code, colors);
    if (column.counts[0] && !words().length) addGroup(found, column, 0, colors);
    const more = codes.length - MOST_GROUPS;
    if (more > 0) append(found, "p", `and ${count(more)} more: search`);
  };
  if (column.names.length > 12) {
    const input = append(list, "input", "", { type: "search", placeholder: `Search ${count(column.names.length)} kinds`, value: searched.get(column) ?? "" });
    input.setAttribute("aria-label", "Search " + column.title);
    input.dataset.key = column.title + " search";
    input.addEventListener("input", () => { searched.set(column, input.value); fill() });
    list.prepend(input);
  }
  fill();
}

function addGroup(list, column, code, colors) {
  const row = append(list, "div", "", { className: "group" }), key = `${column.title} ${code}`;
  const hidden = state.filters.get(column)?.hidden;
  const toggle = button(row, "", "Show or hide; with Shift, this alone", key, event =>
    event.shiftKey ? showAlone(column, code) : toggleGroup(column, code));
  toggle.className = "toggle";
  toggle.setAttribute("aria-pressed", String(!hidden?.has(code)));
  append(toggle, "i").style.background = colors[code] ?? colors[1];
  append(toggle, "b", code ? column.names[code - 1] : column.none);
  append(toggle, "small", count(column.counts[code]));
  button(row, "only", "Show this alone", key + " only", () => showAlone(column, code));
  button(row, "select", "Select what is shown of it; with Shift, add", key + " select", event =>
    choose(rowsOf(state.shown).filter(r => column.codes[r] === code), event.shiftKey ? "add" : "replace"));
}

function hide(column, hidden) {
  // With nothing left to see, all of it comes back.
  const isAll = column.counts.every((count, code) => !count || hidden.has(code));
  setFilter(column, hidden.size && !isAll ? { hidden } : null);
}

function toggleGroup(column, code) {
  const hidden = new Set(state.filters.get(column)?.hidden);
  if (!hidden.delete(code)) hidden.add(code);
  hide(column, hidden);
}

function showAlone(column, code) {
  const hidden = new Set(column.counts.keys());
  hidden.delete(code);
  hide(column, hidden);
}

// A histogram with two handles.
function fillScale(list, column, filter) {
  const { low, high } = column, span = high - low || 1;
  const ends = { low, high, missing: true, ...filter };
  const colors = colorsOf(column === state.column ? column : null);
  const bars = append(list, "div", "", { className: "bars" });
  const counts = histogramOf(column), most = Math.max(1, ...counts);
  for (const [i, bar] of counts.entries()) {
    const piece = append(bars, "i");
    // Roots, or one full bar would leave the others flat.
    piece.style.height = 100 * Math.sqrt(bar / most) + "%";
    piece.style.background = colors[Math.max(1, Math.round((i + 0.5) / counts.length * (colors.length - 1)))];
  }
  const handles = append(list, "div", "", { className: "handles" }), shown = append(list, "div", "", { className: "ends" });
  const texts = ["low", "high"].map(() => append(shown, "span"));
  const tell = () => {
    texts.forEach((text, i) => { text.textContent = valueOf(column, [ends.low, ends.high][i]) });
    [...bars.children].forEach((bar, i) => {
      const middle = low + (i + 0.5) / bars.children.length * span;
      bar.classList.toggle("out", middle < ends.low || middle > ends.high);
    });
  };
  const change = () => {
    const isAll = ends.low <= low && ends.high >= high && ends.missing;
    setFilter(column, isAll ? null : { ...ends });
  };
  for (const end of ["low", "high"]) {
    const slider = append(handles, "input", "", { type: "range", min: 0, max: STEPS, value: Math.round((ends[end] - low) / span * STEPS) });
    slider.setAttribute("aria-label", `${column.title}: ${end === "low" ? "least" : "most"}`);
    slider.dataset.key = `${column.title} ${end}`;
    slider.addEventListener("input", () => {
      const value = Number(slider.value);
      ends[end] = value === 0 ? low : value === STEPS ? high : low + value / STEPS * span;
      if (ends.low > ends.high) { ends[end] = ends[end === "low" ? "high" : "low"]; slider.value = Math.round((ends[end] - low) / span * STEPS) }
      tell();
      isSliding = true;
      change();
      isSliding = false;
    });
    slider.addEventListener("change", fillPanel);
  }
  tell();
  if (!column.counts[0]) return;
  const missing = append(list, "label", "", { className: "missing" });
  const box = append(missing, "input", "", { type: "checkbox", checked: ends.missing });
  box.dataset.key = column.title + " missing";
  missing.append(`${column.none} (${count(column.counts[0])})`);
  box.addEventListener("change", () => { ends.missing = box.checked; change() });
}

let isSliding = false;  // a handle that is held must not be replaced
on("shown column labels", () => { if (!isSliding) fillPanel() });
fillPanel();
