// What the reader does, by pointer and by key.

import { $, append, isDark, notice, page, root, setTheme } from "../../pages/_web/page.js";
import { linkOf, openImage } from "../../pages/_web/pictures.js";
import { showCard } from "./card.js";
import {
  camera, choose, columns, copiesOf, count, is3d, n, on, rowsOf, setColumn, showAgain, standFor, state, tell, toggle, undo, wordsOf,
} from "./data.js";
import { dotSize, gesture, imageAt, map, moving, paint, paintPointer, resize, stage } from "./drawing.js";
import { hasWords, wordsIn } from "./filters.js";
import { enclosed, nearest, neighbor } from "./geometry.js";
import { giveByKey, recall } from "./labelling.js";
import { neighborsOf } from "./likeness.js";
import { fillPanel } from "./panel.js";
import { review } from "./review.js";
import { meant, onShow, removeMarked } from "./tray.js";

const STEP = 1.4;
const toolButtons = document.querySelectorAll("#tools [data-tool]");
const howOf = event => event.altKey ? "subtract" : event.shiftKey ? "add" : "replace";

function clearSearch() {
  $("#search input").value = "";
  search();
}

function clearAll() {
  clearSearch();
  showCard(-1);
  if (state.chosen.length) choose([]);
}

function setTool(tool) {
  state.tool = stage.dataset.tool = tool;
  for (const button of toolButtons) button.setAttribute("aria-pressed", String(button.dataset.tool === tool));
}

let texts = null;
function search() {
  const words = wordsIn($("#search input").value), button = $("#search button");
  if (words.length) texts ??= Array.from({ length: n }, (_, row) => wordsOf(row));
  state.matches = words.length ? rowsOf(texts.map((text, row) => state.shown[row] && hasWords(text, words))) : null;
  button.hidden = !words.length;
  button.disabled = !state.matches?.length;
  button.textContent = state.matches?.length ? `Select ${count(state.matches.length)}` : "None found";
  tell("matches");
}

// What the camera does, seen: without the card of where things were.
function look(action) {
  action();
  showCard(-1);
  moving();
}
const zoom = factor => look(() => camera.zoomBy(factor));
const showWhole = () => look(() => camera.showWhole());

// Shows a point's card where the point is, and brings the map there if need be.
function pointOut(row) {
  const place = () => { camera.project(); return [camera.xs[row], camera.ys[row]] };
  let [px, py] = place();
  if (px < 0 || py < 0 || px > camera.width || py > camera.height) {
    camera.move(camera.width / 2 - px, camera.height / 2 - py);
    moving();
    [px, py] = place();
  }
  showCard(row, px, py);
}

function step(ux, uy) {
  const { xs, ys, width, height } = camera, { current, shown } = state;
  const start = current < 0 || !shown[current];
  const row = start ? nearest(xs, ys, shown, width / 2, height / 2, Infinity) : neighbor(xs, ys, shown, current, ux, uy);
  if (row >= 0) pointOut(row);
}

const inStage = event => {
  const box = map.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
};
const isTouch = event => event.pointerType === "touch";
const reach = event => isTouch(event) ? 26 : dotSize() / 2 + 5;
function rowAt(event) {
  const [x, y] = inStage(event), row = imageAt(x, y);
  return row >= 0 ? row : nearest(camera.xs, camera.ys, state.shown, x, y, reach(event));
}

let press = null;  // the press that may become a click, a move, a lasso or a box
const fingers = new Map();  // where each pointer that is down is

function startPress(event) {
  if (event.button !== 0) return;
  const [x, y] = inStage(event);
  fingers.set(event.pointerId, [x, y]);
  press = fingers.size > 1 ? null : { x, y, how: howOf(event), points: [[x, y]], isDrag: false };
  if (fingers.size > 1) gesture.outline = null;
}

function movePress(event) {
  const [x, y] = inStage(event), before = fingers.get(event.pointerId);
  if (!before) return hover(event);
  const spread = spreadOf();
  fingers.set(event.pointerId, [x, y]);
  if (fingers.size === 2) return pinch(spread, x - before[0], y - before[1]);
  if (!press) return;
  press.isDrag ||= Math.hypot(x - press.x, y - press.y) > 4;
  if (!press.isDrag) return;
  showCard(-1);
  stage.setPointerCapture(event.pointerId);
  if (state.tool === "pan") {
    // From where it was pressed: what was not yet a drag counts too.
    const [fromX, fromY] = press.points.at(-1);
    press.points = [[x, y]];
    look(() => is3d && !event.shiftKey ? camera.turn(x - fromX, y - fromY) : camera.move(x - fromX, y - fromY));
    return;
  }
  press.points.push([x, y]);
  gesture.outline = state.tool === "lasso" ? press.points : boxOf(press.x, press.y, x, y);
  paintPointer();
}

const boxOf = (x, y, u, v) => [[x, y], [u, y], [u, v], [x, v]];

function spreadOf() {
  const [one, other] = [...fingers.values()];
  return other ? { far: Math.hypot(one[0] - other[0], one[1] - other[1]), x: (one[0] + other[0]) / 2, y: (one[1] + other[1]) / 2 } : null;
}

function pinch(before, dx, dy) {
  const { far, x, y } = spreadOf();
  look(() => { camera.move(dx / 2, dy / 2); camera.zoomBy(far / Math.max(1, before.far), x, y) });
}

let hovered = null;
function hover(event) {
  if (isTouch(event) || !stage.contains(event.target)) return;
  if (!hovered) requestAnimationFrame(() => {
    const last = hovered;
    hovered = null;
    if (!fingers.size) showCard(rowAt(last), ...inStage(last));
  });
  hovered = event;
}

function endPress(event) {
  fingers.delete(event.pointerId);
  if (!press) return;
  const { isDrag, how } = press, { outline } = gesture;
  press = gesture.outline = null;
  if (!isDrag) click(event);
  else if (outline) {
    const rows = enclosed(camera.xs, camera.ys, state.shown, outline);
    if (rows.length) choose(rows, how);
  }
  paintPointer();
}

function click(event) {
  const row = rowAt(event), isImage = imageAt(...inStage(event)) === row;
  if (row < 0) return showCard(-1);
  const isFirstTap = isTouch(event) && row !== state.current;  // a finger cannot hover: first it looks
  if (!isFirstTap) {
    if (isGroup(row)) openGroup(row);
    else if (isImage && state.tool === "pan" && !event.shiftKey && !isTouch(event) && linkOf(row)) openImage(row);
    else toggle(row);
  }
  showCard(row, ...inStage(event));
}

// A point that stands for near-duplicates: all of them are shown and selected.
const isGroup = row => state.isFolded && !state.opened.has(standFor[row]) && copiesOf(row).length > 1;
function openGroup(row) {
  state.opened.add(standFor[row]);
  showAgain();
  choose(copiesOf(row).filter(other => state.shown[other]));
}

function fold() {
  state.isFolded = !state.isFolded;
  state.opened.clear();
  $("#fold").setAttribute("aria-pressed", String(state.isFolded));
  showAgain();
}

function selectLike() {
  const near = neighborsOf(state.current);
  if (near) choose([state.current, ...near].filter(row => state.shown[row]));
}

function flip(button, name) {
  state[name] = !state[name];
  $(button).setAttribute("aria-pressed", String(state[name]));
  paint();
}

function labelByKey(key) {
  giveByKey(key, meant());
}

const keys = {
  p: () => setTool("pan"), l: () => setTool("lasso"), b: () => setTool("box"),
  n: () => flip("#names", "hasNames"), i: () => flip("#images", "hasImages"), d: () => $("#theme").click(),
  0: showWhole, "+": () => zoom(STEP), "=": () => zoom(STEP), "-": () => zoom(1 / STEP),
  "/": () => $("#search input").focus(), u: undo, k: selectLike, r: review, w: () => $("#wide").click(),
  g: () => { if (standFor) fold() }, Delete: removeMarked, Escape: clearAll,
};
const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function actionOf(event) {
  const { key } = event, hasModifier = event.ctrlKey || event.metaKey || event.altKey;
  if ((event.ctrlKey || event.metaKey) && key === "z") return undo;
  if (hasModifier) return null;
  if (event.target === stage && arrows[key]) return () => step(...arrows[key]);
  if (event.target === stage && ["Enter", " "].includes(key)) return () => toggle(state.current);
  if (/^[1-9]$/.test(key)) return () => labelByKey(Number(key));
  return keys[key] ?? keys[key.toLowerCase()];
}

function onKey(event) {
  if ($("#reviewing").open) return;
  if (event.target.matches("input:not([type=range], [type=checkbox]), select, textarea")) {
    if (event.key !== "Escape") return;
    if (event.target.closest("#search")) clearSearch();
    event.target.blur();
    return;
  }
  const action = actionOf(event);
  if (!action) return;
  event.preventDefault();
  action();
}

function listen() {
  const onEvent = (selector, kind, action) => $(selector).addEventListener(kind, action);
  onEvent("#tools select", "change", event => setColumn(columns[event.target.selectedIndex]));
  for (const button of toolButtons) button.addEventListener("click", () => setTool(button.dataset.tool));
  for (const [id, action] of Object.entries({
    closer: keys["+"], farther: keys["-"], whole: showWhole, undo, names: keys.n, images: keys.i, fold,
    theme: () => { setTheme(isDark() ? "light" : "dark"); fillPanel(); paint() },
  })) onEvent("#" + id, "click", action);
  let wait;
  onEvent("#search input", "input", () => { clearTimeout(wait); wait = setTimeout(search, 100) });
  onEvent("#search input", "keydown", event => {
    if (event.key !== "Enter") return;
    search();
    if (state.matches) choose(state.matches, howOf(event));
  });
  onEvent("#search button", "click", event => choose(state.matches, howOf(event)));
  addEventListener("keydown", onKey);
  stage.addEventListener("pointerdown", startPress);
  addEventListener("pointermove", movePress);
  addEventListener("pointerup", endPress);
  addEventListener("pointercancel", event => { fingers.delete(event.pointerId); press = gesture.outline = null; paintPointer() });
  stage.addEventListener("wheel", event => {
    event.preventDefault();
    const lines = event.deltaY * (event.deltaMode ? 20 : 1);
    look(() => camera.zoomBy(Math.exp(-Math.max(-120, Math.min(120, lines)) / 240), ...inStage(event)));
  }, { passive: false });
  // A finger that is lifted leaves too, but what it tapped stays.
  stage.addEventListener("pointerleave", event => { if (!isTouch(event)) showCard(-1) });
}

function tellOfData() {
  const left = n - rowsOf(state.shown).length;
  notice([...page.remarks, left ? `${count(n - left)} of ${count(n)} points shown.` : ""].join(" ").trim());
}

for (const column of columns) append($("#tools select"), "option", column.title);
$("#images").hidden = !page.pictures;
$("#fold").hidden = !standFor;
if (matchMedia("(pointer: coarse)").matches) $("#hint").textContent = "Tap a point to look, and again to select it, or search.";
on("column", () => { $("#tools select").selectedIndex = columns.indexOf(state.column); paint() });
on("shown", () => { showCard(-1); tellOfData(); if (state.matches) search() });
on("labels", () => { texts = null });
onShow(pointOut);
setTool("pan");
if (!state.column) $("#tools select").selectedIndex = -1;
listen();
recall();
tellOfData();
resize();
// Told for whoever looks from outside.
globalThis.placeOf = row => { camera.project(); const box = map.getBoundingClientRect(); return [box.left + camera.xs[row], box.top + camera.ys[row]] };
requestAnimationFrame(() => requestAnimationFrame(() => { root.dataset.ready = Math.round(performance.now()) }));
