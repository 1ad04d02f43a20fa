// What the reader does: choosing, searching, colouring, by pointer and by key.

const toolButtons = document.querySelectorAll("#tools [data-tool]");
const MOST_UNDONE = 50;
let outline = null;   // of the lasso or box being drawn, in pixels of the map
let gesture = null;   // the press that may become a click, a lasso or a box

const howOf = event => event.altKey ? "subtract" : event.shiftKey ? "add" : "replace";

function choose(rows, how = "replace") {
  const chosen = new Set(how === "replace" ? [] : state.chosen);
  for (const row of rows) if (how === "subtract") chosen.delete(row); else chosen.add(row);
  state.past = [...state.past.slice(1 - MOST_UNDONE), state.chosen];
  state.chosen = chosen;
  changed();
}

function undo() {
  if (!state.past.length) return;
  state.chosen = state.past.pop();
  changed();
}

function changed() {
  fillTray();
  if (is3d) draw(); else paint();
}

function toggle(row) {
  if (row >= 0) choose([row], state.chosen.has(row) ? "subtract" : "add");
}

function clearSearch() {
  $("#search input").value = "";
  search();
}

function clearAll() {
  clearSearch();
  showCard(-1);
  if (state.chosen.size) choose([]);
}

function setTool(tool) {
  state.tool = stage.dataset.tool = tool;
  for (const button of toolButtons) button.setAttribute("aria-pressed", String(button.dataset.tool === tool));
}

function setColumn(column) {
  state.column = column;
  state.hidden.clear();
  showAgain();
}

function toggleGroup(code, alone) {
  const { hidden, column } = state;
  if (alone) column.counts.forEach((_, other) => other === code ? hidden.delete(other) : hidden.add(other));
  else if (!hidden.delete(code)) hidden.add(code);
  // With nothing left to see, all of it comes back.
  if (column.counts.every((count, other) => !count || hidden.has(other))) hidden.clear();
  showAgain();
}

function showAgain() {
  const { column, hidden } = state;
  for (let row = 0; row < n; row++) state.shown[row] = column && hidden.has(column.codes[row]) ? 0 : 1;
  showCard(-1);
  const focus = [...$("#legend").querySelectorAll("button")].indexOf(document.activeElement);
  fillLegend();
  if (focus >= 0) $("#legend").querySelectorAll("button")[focus]?.focus();
  draw();
}

// What is known of a point in words: its name, its groups and dates.
function wordsOf(row) {
  const facts = columns.filter(column => (column.names && !column.is_selection) || column.is_date);
  const known = facts.filter(column => column.codes[row]);
  return [nameOf(row), ...known.map(column => textOf(column, row))].join("\n").toLowerCase();
}

let texts = null;
function search() {
  const words = $("#search input").value.toLowerCase().split(/\s+/).filter(word => word);
  const button = $("#search button");
  texts ??= Array.from({ length: n }, (_, row) => wordsOf(row));
  const found = text => words.every(word => text.includes(word));
  state.matches = words.length ? rowsOf(texts.map(found)) : null;
  button.hidden = !words.length;
  button.disabled = !state.matches?.length;
  button.textContent = state.matches?.length ? `Select ${state.matches.length.toLocaleString("en")}` : "None found";
  if (is3d) draw(); else paint();
}

function zoom(factor) {
  if (is3d) return;
  const around = ({ range: [low, high] }) => {
    const middle = (low + high) / 2, half = (high - low) / 2 * factor;
    return [middle - half, middle + half];
  };
  const { xaxis, yaxis } = map._fullLayout;
  Plotly.relayout(map, { "xaxis.range": around(xaxis), "yaxis.range": around(yaxis) });
}

function showWhole() {
  if (is3d) Plotly.relayout(map, { "scene.camera": { eye: { x: 1.25, y: 1.25, z: 1.25 } } });
  else { const [x, y] = wholeView(); Plotly.relayout(map, { "xaxis.range": x, "yaxis.range": y }) }
}

// Shows a point's card where the point is, and brings the map there if need be.
async function pointOut(row) {
  if (is3d) return;
  const place = () => { const { kx, bx, ky, by } = frame(); return [xs[row] * kx + bx, ys[row] * ky + by] };
  let [px, py] = place();
  if (px < 0 || py < 0 || px > map.clientWidth || py > map.clientHeight) {
    const { xaxis, yaxis } = map._fullLayout;
    const around = (axis, middle) => { const half = (axis.range[1] - axis.range[0]) / 2; return [middle - half, middle + half] };
    await Plotly.relayout(map, { "xaxis.range": around(xaxis, xs[row]), "yaxis.range": around(yaxis, ys[row]) });
    [px, py] = place();
  }
  showCard(row, px, py);
}

function step(ux, uy) {
  if (is3d) return;
  const { clientWidth: width, clientHeight: height } = map;
  const start = state.current < 0 || !state.shown[state.current];
  const row = start ? nearest(width / 2, height / 2, Infinity) : neighbor(state.current, ux, uy);
  if (row >= 0) pointOut(row);
}

const inStage = event => {
  const box = map.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
};
const reach = event => event.pointerType === "touch" ? 26 : dotSize / 2 + 5;

function startGesture(event) {
  if (event.button !== 0 || is3d) return;
  const [x, y] = inStage(event);
  gesture = { x, y, how: howOf(event), points: [[x, y]], isDrag: false };
}

let pointer = null;
function moveGesture(event) {
  const [x, y] = inStage(event);
  if (gesture) {
    gesture.isDrag ||= Math.hypot(x - gesture.x, y - gesture.y) > 4;
    if (gesture.isDrag) showCard(-1);
    if (gesture.isDrag && state.tool !== "pan") {
      stage.setPointerCapture(event.pointerId);
      gesture.points.push([x, y]);
      outline = state.tool === "lasso" ? gesture.points : boxOf(gesture.x, gesture.y, x, y);
    }
    return;
  }
  if (is3d || event.pointerType === "touch") return;
  if (!pointer) requestAnimationFrame(() => {
    const [px, py, far] = pointer;
    pointer = null;
    showCard(nearest(px, py, far), px, py);
  });
  pointer = [x, y, reach(event)];
}

const boxOf = (x, y, u, v) => [[x, y], [u, y], [u, v], [x, v]];

function endGesture(event) {
  if (!gesture) return;
  const { isDrag, how } = gesture, [x, y] = inStage(event);
  if (!isDrag) {
    const row = nearest(x, y, reach(event));
    // A finger cannot hover: its first tap is for looking.
    if (event.pointerType !== "touch" || row === state.current) toggle(row);
    showCard(row, x, y);
  } else if (outline) {
    const rows = enclosed(outline);
    if (rows.length) choose(rows, how);
  }
  gesture = outline = null;
  paintPointer();
}

function cancelGesture() {
  gesture = outline = null;
  paintPointer();
}

const keys = {
  p: () => setTool("pan"), l: () => setTool("lasso"), b: () => setTool("box"),
  n: () => $("#names").click(), d: () => $("#theme").click(), 0: showWhole,
  "+": () => zoom(0.7), "=": () => zoom(0.7), "-": () => zoom(1 / 0.7),
  "/": () => $("#search input").focus(), u: undo, Escape: clearAll,
};
const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function onKey(event) {
  if (event.target.matches("input, select, textarea")) {
    if (event.key === "Escape" && event.target.closest("#search")) clearSearch();
    return;
  }
  const isUndo = (event.ctrlKey || event.metaKey) && event.key === "z";
  if ((event.ctrlKey || event.metaKey || event.altKey) && !isUndo) return;
  let action = keys[event.key] ?? keys[event.key.toLowerCase()];
  if (event.target === stage && arrows[event.key]) action = () => step(...arrows[event.key]);
  if (event.target === stage && ["Enter", " "].includes(event.key)) action = () => toggle(state.current);
  if (isUndo) action = undo;
  if (!action) return;
  event.preventDefault();
  action();
}

function listen() {
  const on = (selector, kind, action) => $(selector).addEventListener(kind, action);
  on("#tools select", "change", event => setColumn(columns[event.target.selectedIndex]));
  for (const button of toolButtons) button.addEventListener("click", () => setTool(button.dataset.tool));
  on("#closer", "click", keys["+"]);
  on("#farther", "click", keys["-"]);
  on("#whole", "click", showWhole);
  on("#names", "click", () => {
    state.names = !state.names;
    $("#names").setAttribute("aria-pressed", String(state.names));
    if (is3d) draw(); else paint();
  });
  on("#theme", "click", () => { setTheme(isDark() ? "light" : "dark"); fillLegend(); draw() });
  on("#copy", "click", copy);
  on("#save-json", "click", () => download("selection.json", [jsonOf([...state.chosen])], "application/json"));
  on("#save-list", "click", saveList);
  on("#clear", "click", clearAll);
  on("#undo", "click", undo);
  let wait;
  on("#search input", "input", () => { clearTimeout(wait); wait = setTimeout(search, 100) });
  on("#search input", "keydown", event => {
    if (event.key !== "Enter") return;
    search();
    if (state.matches) choose(state.matches, howOf(event));
  });
  on("#search button", "click", event => choose(state.matches, howOf(event)));
  addEventListener("keydown", onKey);
  addEventListener("resize", paint);
  // Plotly drags the map itself; a lasso or a box must not reach it.
  for (const kind of ["mousedown", "touchstart"]) {
    stage.addEventListener(kind, event => { if (state.tool !== "pan") event.stopPropagation() }, true);
  }
  stage.addEventListener("pointerdown", startGesture, true);
  stage.addEventListener("pointermove", event => { moveGesture(event); if (outline) paintPointer() }, true);
  addEventListener("pointerup", endGesture, true);
  addEventListener("pointercancel", cancelGesture, true);
  // A finger that is lifted leaves too, but what it tapped stays.
  stage.addEventListener("pointerleave", event => { if (event.pointerType !== "touch") showCard(-1) });
}

function listenToPlotly() {
  map.on("plotly_relayouting", () => { showCard(-1); paint() });
  map.on("plotly_relayout", paint);
  if (!is3d) return;
  const rowAt = event => rowsDrawn[event.points[0].pointNumber];
  map.addEventListener("mousemove", event => { pointer = inStage(event) }, true);
  map.on("plotly_hover", event => showCard(rowAt(event), ...pointer));
  map.on("plotly_unhover", () => showCard(-1));
  map.on("plotly_click", event => toggle(rowAt(event)));
}

$("#tools label").hidden = columns.length < 2;
for (const column of columns) append($("#tools select"), "option", column.title);
toolButtons[0].parentElement.hidden = $("#closer").hidden = $("#farther").hidden = is3d;
if (matchMedia("(pointer: coarse)").matches) $("#hint").textContent = "Tap a point to look, and again to select it, or search.";
if (is3d) $("#hint").textContent = "Click a point, or search.";
setTool("pan");
listen();
fillLegend();
fillTray();
await draw();
listenToPlotly();
root.dataset.ready = Math.round(performance.now());
