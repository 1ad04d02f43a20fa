// One image: where its patches look, and which are alike, computed from queries, keys and tokens.

import { numbersOf } from "../../pages/_web/bytes.js";
import { $, append, notice, page, root } from "../../pages/_web/page.js";

const [rows, columns] = page.grid;
const nPatches = rows * columns, firstPatch = page.first_patch, nTokens = firstPatch + nPatches;
const picture = $("#picture"), layerSlider = $("#layer");

// Numbers come as base64 of little-endian float16, which browsers do not all know.
const halves = Float32Array.from({ length: 65536 }, (_, bits) => {
  const sign = bits >> 15 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
});

const decoded = new Map();
function once(name, text) {
  if (!decoded.has(name))
    decoded.set(name, Float32Array.from(numbersOf(Uint16Array, text), bits => halves[bits]));
  return decoded.get(name);
}

const state = { kind: "attention", layer: page.layers.length - 1, heads: "mean", patch: null };
let held = null;  // the patch that a click holds
let pointed = null;  // the patch under the pointer

// Attention of the query's token in one head: a row of the softmax over all tokens.
function attentionOfHead(layer, head, token) {
  const query = once("q" + layer, page.queries[layer]), key = once("k" + layer, page.keys[layer]);
  const width = page.head_dim, dim = width * page.n_heads, offset = head * width;
  const scores = new Float32Array(nTokens);
  let top = -Infinity, sum = 0;
  for (let t = 0; t < nTokens; t++) {
    let score = 0;
    const q = token * dim + offset, k = t * dim + offset;
    for (let i = 0; i < width; i++) score += query[q + i] * key[k + i];
    scores[t] = score / Math.sqrt(width);
    top = Math.max(top, scores[t]);
  }
  for (let t = 0; t < nTokens; t++) sum += scores[t] = Math.exp(scores[t] - top);
  return scores.subarray(firstPatch).map(score => score / sum);
}

function reduce(maps, how) {
  return maps[0].map((_, i) => {
    const values = maps.map(map => map[i]);
    if (how === "max") return Math.max(...values);
    if (how === "min") return Math.min(...values);
    return values.reduce((sum, value) => sum + value) / values.length;
  });
}

function similarityTo(patch) {
  const tokens = once("tokens", page.patch_tokens), dim = tokens.length / nPatches;
  const dot = (a, b) => {
    let sum = 0;
    for (let i = 0; i < dim; i++) sum += tokens[a * dim + i] * tokens[b * dim + i];
    return sum;
  };
  const norm = i => Math.sqrt(dot(i, i)) || 1;
  return Float32Array.from({ length: nPatches }, (_, i) => dot(patch, i) / norm(patch) / norm(i));
}

// Colours end at the 1st and the 99th percentile, so that no outlier leaves the rest dark.
function limits(values) {
  const sorted = Float32Array.from(values).sort();
  const at = share => {
    const place = share * (sorted.length - 1), below = Math.floor(place);
    const above = Math.min(below + 1, sorted.length - 1);
    return sorted[below] + (place - below) * (sorted[above] - sorted[below]);
  };
  return [at(0.01), at(0.99)];
}

const mapCanvas = document.createElement("canvas");
function drawMap(canvas, values, [low, high], opacity) {
  mapCanvas.width = columns;
  mapCanvas.height = rows;
  const image = new ImageData(columns, rows);
  values.forEach((value, i) => {
    const share = high > low ? (value - low) / (high - low) : 0.5;
    const color = Math.max(0, Math.min(255, Math.round(255 * share)));
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = page.colors[3 * color + c];
    image.data[4 * i + 3] = 255;
  });
  mapCanvas.getContext("2d").putImageData(image, 0, 0);
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = $("#smooth").checked;
  context.globalAlpha = opacity;
  context.drawImage(mapCanvas, 0, 0, canvas.width, canvas.height);
  context.globalAlpha = 1;
}

function outline(patch) {
  const context = picture.getContext("2d");
  const width = picture.width / columns, height = picture.height / rows;
  const box = [patch % columns * width, Math.floor(patch / columns) * height, width, height];
  for (const [color, line] of [["#000", 5], ["#fff", 2.5]]) {
    context.strokeStyle = color;
    context.lineWidth = line;
    context.strokeRect(...box);
  }
}

function placeOf(patch) {
  return `patch (${Math.floor(patch / columns)}, ${patch % columns})`;
}

globalThis.shown = null;  // the values of the map on show, for whoever looks from outside
function draw() {
  const attention = state.kind === "attention";
  const token = state.patch === null ? 0 : firstPatch + state.patch;
  $("#attention").hidden = !attention;
  picture.getContext("2d").drawImage(photo, 0, 0, picture.width, picture.height);
  shown = null;
  if (attention) {
    const each = Array.from({ length: page.n_heads }, (_, head) =>
      attentionOfHead(state.layer, head, token));
    shown = each[state.heads] ?? reduce(each, state.heads);
    drawHeads(each);
  } else if (state.patch !== null) {
    shown = similarityTo(state.patch);
  }
  $("#layer-name").textContent = page.layers[state.layer];
  $("#scale").style.visibility = shown ? "visible" : "hidden";
  if (shown) {
    const ends = limits(shown);
    drawMap(picture, shown, ends, Number($("#opacity").value));
    $("#low").textContent = ends[0].toPrecision(3);
    $("#high").textContent = ends[1].toPrecision(3);
  }
  if (state.patch !== null) outline(state.patch);
  say();
}

const say = () => notice(describe(state.kind === "attention"));

function describe(attention) {
  if (state.patch === null)
    return attention ? "Where the whole image's token (CLS) looks" : "Move over a patch";
  const place = placeOf(state.patch);
  const what = attention ? `Where ${place} looks` : `Patches like ${place}`;
  if (held === null || pointed === null) return what;
  return `${what} (held): ${shown[pointed].toPrecision(3)} at ${placeOf(pointed)}`;
}

function drawHeads(each) {
  each.forEach((values, head) => {
    const button = $("#heads").children[head];
    button.setAttribute("aria-pressed", state.heads === head);
    drawMap(button.firstChild, values, limits(values), 1);
  });
  for (const input of reductions) input.checked = input.value === state.heads;
}

function patchAt(event) {
  const box = picture.getBoundingClientRect();
  const column = Math.floor((event.clientX - box.left) / box.width * columns);
  const row = Math.floor((event.clientY - box.top) / box.height * rows);
  return row >= 0 && row < rows && column >= 0 && column < columns ? row * columns + column : null;
}

function look(patch) {
  if (patch === state.patch) return;
  state.patch = patch;
  draw();
}

picture.addEventListener("pointermove", event => {
  pointed = patchAt(event);
  if (held === null) look(pointed);
  else say();
});
picture.addEventListener("pointerleave", () => {
  pointed = null;
  look(held);
  say();
});
picture.addEventListener("click", event => {
  const patch = patchAt(event);
  held = held === patch ? null : patch;
  state.patch = patch;
  draw();
});
document.addEventListener("keydown", event => {
  const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  if (event.key === "Escape") {
    held = state.patch = null;
  } else if (event.key in steps && document.activeElement === picture) {
    const [down, right] = steps[event.key];
    const from = state.patch ?? Math.floor(rows / 2) * columns + Math.floor(columns / 2);
    const row = Math.max(0, Math.min(rows - 1, Math.floor(from / columns) + down));
    const column = Math.max(0, Math.min(columns - 1, from % columns + right));
    held = state.patch = row * columns + column;
    event.preventDefault();
  } else {
    return;
  }
  draw();
});

for (let head = 0; head < page.n_heads; head++) {
  const button = append($("#heads"), "button");
  append(button, "canvas", "", { width: 8 * columns, height: 8 * rows });
  button.append(`head ${head}`);
  button.addEventListener("click", () => {
    state.heads = head;
    draw();
  });
}
const reductions = document.querySelectorAll("input[name=heads]");
for (const input of reductions)
  input.addEventListener("change", () => {
    state.heads = input.value;
    draw();
  });
for (const input of document.querySelectorAll("input[name=kind]"))
  input.addEventListener("change", () => {
    state.kind = input.value;
    draw();
  });
layerSlider.max = page.layers.length - 1;
layerSlider.value = state.layer;
layerSlider.addEventListener("input", () => {
  state.layer = Number(layerSlider.value);
  draw();
});
for (const id of ["opacity", "smooth"]) $("#" + id).addEventListener("input", draw);

const [bar] = $("#scale").getElementsByTagName("canvas");
const ramp = new ImageData(256, 1);
for (let i = 0; i < 256; i++)
  ramp.data.set([...page.colors.slice(3 * i, 3 * i + 3), 255], 4 * i);
bar.getContext("2d").putImageData(ramp, 0, 0);

const photo = new Image();
photo.src = page.image;
await photo.decode();
const scale = Math.max(1, Math.min(4, Math.round(640 / Math.max(photo.width, photo.height))));
Object.assign(picture, { width: scale * photo.width, height: scale * photo.height });
picture.style.width = `min(100%, ${70 * photo.width / photo.height}vh)`;
draw();
root.dataset.ready = Math.round(performance.now());
