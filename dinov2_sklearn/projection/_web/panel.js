// Beside the map: the card of a point, the legend, and the selection with its exports.

const MOST_PICTURES = 120, MOST_GROUPS = 300;

function split(path) {
  const at = Math.max(path.lastIndexOf("/"), path.lastIndexOf("\\")) + 1;
  return [path.slice(0, at), path.slice(at)];
}

function showCard(row, px, py) {
  state.current = row;
  paintPointer();
  const card = $("#card");
  card.style.display = row < 0 ? "none" : "block";
  if (row < 0) return;
  if (card.dataset.row !== String(row)) fillCard(card, row);
  const box = card.getBoundingClientRect(), edge = map.getBoundingClientRect(), gap = 16;
  const x = edge.left + px, y = edge.top + py;
  const left = x + gap + box.width < innerWidth ? x + gap : x - gap - box.width;
  card.style.left = Math.max(6, left) + "px";
  card.style.top = Math.max(6, Math.min(y + gap, innerHeight - box.height - 6)) + "px";
}

function fillCard(card, row) {
  card.dataset.row = row;
  const [folder, name] = split(nameOf(row));
  const picture = pictureOf(row, pictures?.links ? 224 : Math.min(224, 2.5 * pictures?.side));
  card.querySelector(".picture").replaceChildren(...picture ? [picture] : []);
  card.querySelector(".name").textContent = name || folder;
  card.querySelector(".folder").textContent = name ? folder : "";
  const facts = card.querySelector("dl");
  facts.replaceChildren();
  for (const column of columns) {
    if (column.is_selection) continue;
    append(facts, "dt", column.title);
    append(facts, "dd", textOf(column, row));
  }
  if (!ranks.has(row)) return;
  append(facts, "dt", "pick");
  append(facts, "dd", `${ranks.get(row)} of ${page.picks.length}`);
}

function fillLegend() {
  const column = state.column, [heading, list] = $("#legend").children;
  $("#legend").hidden = !column;
  list.replaceChildren();
  if (!column) return;
  heading.textContent = column.title;
  const colors = colorsOf(column);
  if (column.kind === "scale") {
    const ramp = append(list, "div", "", { className: "ramp" });
    ramp.style.background = `linear-gradient(to right, ${colors.slice(1)})`;
    const ends = append(list, "div", "", { className: "ends" });
    append(ends, "span", valueOf(column, column.low));
    append(ends, "span", valueOf(column, column.high));
    if (column.counts[0]) addGroup(list, column, 0, colors);
    return;
  }
  const codes = column.counts.map((_, code) => code).slice(1);
  for (const code of codes.slice(0, MOST_GROUPS)) addGroup(list, column, code, colors);
  if (column.counts[0]) addGroup(list, column, 0, colors);
  const more = codes.length - MOST_GROUPS;
  if (more > 0) append(list, "p", `and ${more.toLocaleString("en")} more groups`);
}

function addGroup(list, column, code, colors) {
  const button = append(list, "button", "", { type: "button", title: "Show or hide; with Shift, this alone" });
  button.setAttribute("aria-pressed", String(!state.hidden.has(code)));
  append(button, "i").style.background = colors[code];
  append(button, "b", code ? column.names?.[code - 1] ?? "" : column.none);
  append(button, "small", column.counts[code].toLocaleString("en"));
  button.addEventListener("click", event => toggleGroup(code, event.shiftKey));
}

function fillTray() {
  const rows = [...state.chosen], tray = $("#pictures");
  $("#tray output").textContent = rows.length.toLocaleString("en");
  $("#undo").disabled = state.past.length === 0;
  $("#actions").hidden = rows.length === 0;
  $("#hint").hidden = rows.length > 0;
  $("#said").textContent = "";
  tray.replaceChildren();
  tray.classList.toggle("texts", !pictures);
  for (const row of rows.slice(0, MOST_PICTURES)) {
    const button = append(tray, "button", "", { type: "button", title: nameOf(row) });
    button.dataset.row = row;
    button.append(pictureOf(row, 64) ?? split(nameOf(row))[1]);
    button.setAttribute("aria-label", nameOf(row));
    button.addEventListener("click", () => pointOut(row));
  }
  const more = rows.length - MOST_PICTURES;
  if (more > 0) append(tray, "p", `and ${more.toLocaleString("en")} more`);
}

const say = text => { $("#said").textContent = text };
const listOf = rows => rows.map(row => page.names ? page.names[row] : String(row)).join("\n") + "\n";

function jsonOf(rows) {
  return JSON.stringify({
    format: page.format, version: 1, title: page.title, n_points: n,
    created: new Date().toISOString(), indices: rows,
    paths: page.names && rows.map(row => page.names[row]),
  }, null, 1);
}

// Python keeps an undecodable byte of a file name as a lone surrogate: back to that byte.
function fileBytes(text) {
  const parts = text.split(/([\udc80-\udcff])/u);  // with u, halves of a pair do not match
  return parts.map((part, i) => i % 2 ? Uint8Array.of(part.charCodeAt(0) - 0xdc00) : part);
}

function download(name, parts, type) {
  const link = document.createElement("a");
  link.download = name;
  link.href = URL.createObjectURL(new Blob(parts, { type }));
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

function saveList() {
  const rows = [...state.chosen];
  download("selection.txt", fileBytes(listOf(rows)), "text/plain");
  if (page.names && rows.some(row => /[\r\n]/.test(page.names[row]))) {
    say("Some names have line breaks, which a list cannot hold: take the JSON.");
  }
}

async function copy() {
  const rows = [...state.chosen], text = listOf(rows);
  try {
    await navigator.clipboard.writeText(text);
  } catch {  // where the browser gives a local file no clipboard
    const area = append(document.body, "textarea", text);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  say(`Copied ${rows.length.toLocaleString("en")}.`);
}
