// The card of a point: its image, its name, what is known of it, and what is like it.

import { $, append, page } from "../../pages/_web/page.js";
import { linkOf, pictureOf, pictures } from "../../pages/_web/pictures.js";
import { columns, nameOf, ranks, state, tell, textOf } from "./data.js";
import { map } from "./drawing.js";
import { neighborsOf } from "./likeness.js";

const card = $("#card"), isTouch = matchMedia("(pointer: coarse)").matches;

export function split(path) {
  const at = Math.max(path.lastIndexOf("/"), path.lastIndexOf("\\")) + 1;
  return [path.slice(0, at), path.slice(at)];
}

export function showCard(row, px, py) {
  if (state.current !== row) { state.current = row; tell("current") }
  card.style.display = row < 0 ? "none" : "block";
  if (row < 0) return;
  if (card.dataset.row !== String(row)) fillCard(row);
  const box = card.getBoundingClientRect(), edge = map.getBoundingClientRect(), gap = 16;
  const x = edge.left + px, y = edge.top + py;
  // Within the map: what stands beside it is being worked with.
  const left = x + gap + box.width < edge.right ? x + gap : x - gap - box.width;
  card.style.left = Math.max(6, left) + "px";
  card.style.top = Math.max(6, Math.min(y + gap, innerHeight - box.height - 6)) + "px";
}

function fillCard(row) {
  card.dataset.row = row;
  const [folder, name] = split(nameOf(row));
  const picture = pictureOf(row, pictures?.linked ? 224 : Math.min(224, 2.5 * pictures?.side));
  card.querySelector(".picture").replaceChildren(...picture ? [picture] : []);
  card.querySelector(".name").textContent = name || folder;
  card.querySelector(".folder").textContent = name ? folder : "";
  fillFacts(card.querySelector("dl"), row);
  fillNear(card.querySelector(".near"), row);
  const link = card.querySelector("a");
  link.hidden = !linkOf(row);
  if (!link.hidden) link.href = linkOf(row);
}

export function fillFacts(list, row) {
  list.replaceChildren();
  const facts = columns
    .filter(column => !column.is_selection && (column.codes[row] || column.title !== "your label"))
    .map(column => [column.title, textOf(column, row)]);
  if (ranks.has(row)) facts.push(["pick", `${ranks.get(row)} of ${page.picks.length}`]);
  for (const [title, fact] of facts) { append(list, "dt", title); append(list, "dd", fact) }
}

// The nearest images by embedding, nearest first.
function fillNear(list, row) {
  list.replaceChildren();
  const near = neighborsOf(row) ?? [];
  list.dataset.rows = near;
  if (!near.length || !pictures) return;
  append(list, "p", isTouch ? "Most like it" : "Most like it (K selects them)");
  for (const other of near) list.append(pictureOf(other, 40));
}
