// What is seen: dots, over them what changes often, over that what follows the pointer.

import { $, page, root } from "../../pages/_web/page.js";
import { bitmapOf, hasPicture, pictures } from "../../pages/_web/pictures.js";
import { camera, colorsOf, copiesOf, count, framed, n, on, ranks, standFor, state } from "./data.js";
import { centralRows, Room } from "./geometry.js";
import { neighborsOf } from "./likeness.js";
import { paintDots, pixelOf, shuffled, stampOf } from "./raster.js";

const MOVED_POINTS = 150000, MOST_SQUARES = 3000, SETTLED = 140;
const IMAGE = 68, MOST_IMAGES = 160, IMAGE_ZOOM = 1.8;
export const stage = $("#stage");
export const map = $("#map");
export const gesture = { outline: null };  // of the lasso or box being drawn, in pixels of the map
const order = shuffled(n);
let picture = null, isMoving = false, images = [];

// By how many points there would be, if all of the map were as full as what is seen.
const seenPoints = () => n / Math.max(1, camera.zoom) ** 2;
export const dotSize = () => Math.min(9, Math.max(n > 200000 ? 2 : 3, 9 * Math.sqrt(1000 / seenPoints())));
const opacity = () => Math.max(0.2, 0.88 * Math.min(1, Math.sqrt(200000 / seenPoints())));

export function resize() {
  const { width, height } = stage.getBoundingClientRect(), ratio = devicePixelRatio || 1;
  camera.resize(width, height);
  map.width = Math.max(1, Math.round(width * ratio));
  map.height = Math.max(1, Math.round(height * ratio));
  const image = new ImageData(map.width, map.height);
  picture = { image, pixels: new Uint32Array(image.data.buffer), width: map.width, height: map.height, ratio };
  paint();
}

let wait;
export function moving() {
  isMoving = n > MOVED_POINTS;
  clearTimeout(wait);
  if (isMoving) wait = setTimeout(() => { isMoving = false; paint() }, SETTLED);
  paint();
}

export const paint = framed(() => {
  camera.project();
  paintMap();
  paintMarks();
  paintPointer();
});

// Rows to stand out and the others of those shown; null where none are meant to.
function emphasized() {
  const { matches, chosen, isChosen, shown } = state;
  if (!matches && !chosen.length) return null;
  const mask = isChosen.slice(), others = new Uint8Array(n);
  for (const row of matches ?? []) mask[row] = 1;
  for (let row = 0; row < n; row++) {
    mask[row] &= shown[row];
    others[row] = shown[row] ^ mask[row];
  }
  return { mask, others };
}

function paintMap() {
  // Pixels come from here and not from a graphics card, which would have to take them first.
  const pen = map.getContext("2d", { willReadFrequently: true }), parted = emphasized();
  pen.fillStyle = getComputedStyle(stage).backgroundColor;
  picture.pixels.fill(pixelOf(pen.fillStyle));
  const colors = Uint32Array.from(colorsOf(state.column), pixelOf);
  const rows = isMoving ? order.subarray(0, MOVED_POINTS) : order;
  const dots = { xs: camera.xs, ys: camera.ys, rows, codes: state.column?.codes, colors };
  const radius = dotSize() / 2 * picture.ratio;
  const others = parted?.others ?? state.shown;
  paintDots(picture, { ...dots, mask: others }, stampOf(radius), opacity() * (parted ? 0.28 : 1));
  if (parted) paintDots(picture, { ...dots, mask: parted.mask }, stampOf(radius + 0.5 * picture.ratio), Math.max(0.5, opacity()));
  pen.putImageData(picture.image, 0, 0);
}

function clean(canvas) {
  const pen = canvas.getContext("2d"), colors = getComputedStyle(stage), { width, height, ratio } = picture;
  // A canvas that gets a size, even its own, is made anew, which takes longer than to wipe it.
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  pen.setTransform(1, 0, 0, 1, 0, 0);
  pen.clearRect(0, 0, width, height);
  pen.setLineDash([]);
  pen.scale(ratio, ratio);
  return { pen, colors, accent: getComputedStyle(root).accentColor };
}

const seen = rows => [...rows].filter(row => state.shown[row] && isInView(camera.xs[row], camera.ys[row]));
const isInView = (x, y) => x > -IMAGE && y > -IMAGE && x < camera.width + IMAGE && y < camera.height + IMAGE;
const around = (row, half) => [camera.xs[row] - half, camera.ys[row] - half, camera.xs[row] + half, camera.ys[row] + half];

// Images, rings around the picks, names of groups.
function paintMarks() {
  const { pen, colors, accent } = clean($("#marks")), room = new Room(), radius = dotSize() / 2;
  const picks = seen(page.picks);
  paintImages(pen, colors, accent);
  const bare = rows => rows.filter(row => !images.some(image => image.row === row));
  // Among what the search has found, what is chosen has a ring.
  if (state.matches) paintRings(pen, bare(seen(state.chosen)), radius + 3.5, accent, 2.5);
  paintRings(pen, bare(picks), radius + 1.5, colors.color, 1.4);
  for (const { row } of images) room.take(around(row, IMAGE / 2));
  for (const row of picks.slice(0, MOST_SQUARES)) room.take(around(row, radius + 2));
  if (state.isFolded) paintCounts(pen, colors, room);
  if (state.hasNames) paintNames(pen, colors, room);
}

function paintRings(pen, rows, radius, color, width) {
  pen.beginPath();
  for (const row of rows) {
    pen.moveTo(camera.xs[row] + radius, camera.ys[row]);
    pen.arc(camera.xs[row], camera.ys[row], radius, 0, 7);
  }
  pen.strokeStyle = color;
  pen.lineWidth = width;
  pen.stroke();
}

// Which images have room: the picked first, then the most central of where most points are.
function placeImages() {
  if (!pictures || !state.hasImages || camera.zoom < IMAGE_ZOOM) return [];
  const room = new Room(), placed = [];
  for (const row of [...seen(page.picks), ...centralRows(camera, state.shown, IMAGE / 2)]) {
    const box = around(row, IMAGE / 2);
    if (placed.length >= MOST_IMAGES || !hasPicture(row) || !room.isFree(box)) continue;
    room.take(box);
    placed.push({ row, box });
  }
  return placed;
}

const ready = new Map();  // bitmaps of rows; null while one is on its way, or cannot be had
function paintImages(pen, colors, accent) {
  images = placeImages();
  stage.dataset.images = images.length;
  for (const row of ready.keys()) if (ready.size > 2 * MOST_IMAGES && !images.some(image => image.row === row)) ready.delete(row);
  const groups = colorsOf(state.column);
  for (const image of images) {
    const { row } = image, bitmap = ready.get(row);
    if (bitmap) paintImage(pen, image, bitmap, groups[state.column?.codes[row] ?? 1], colors, accent);
    if (bitmap !== undefined) continue;
    ready.set(row, null);
    bitmapOf(row).then(found => { ready.set(row, found); paint() }, () => {});
  }
}

function paintImage(pen, image, bitmap, color, colors, accent) {
  const { row, box: [left, top] } = image, most = IMAGE - 8;
  const scale = most / Math.max(bitmap.width, bitmap.height);
  const width = bitmap.width * scale, height = bitmap.height * scale;
  const x = left + (IMAGE - width) / 2, y = top + (IMAGE - height) / 2;
  const [frame, line] = state.isChosen[row] ? [accent, 4] : ranks.has(row) ? [colors.color, 3] : [color, 2];
  pen.fillStyle = frame;
  pen.fillRect(x - line, y - line, width + 2 * line, height + 2 * line);
  pen.drawImage(bitmap, x, y, width, height);
}

export const imageAt = (x, y) =>
  images.find(({ box: [left, top, right, bottom] }) => x >= left && x <= right && y >= top && y <= bottom)?.row ?? -1;

function write(pen, text, x, y) {
  pen.strokeText(text, x, y);
  pen.fillText(text, x, y);
}

function startWriting(pen, colors, weight, size) {
  pen.font = `${weight} ${size}px ${colors.fontFamily}`;
  Object.assign(pen, { textAlign: "center", textBaseline: "middle", lineJoin: "round", lineWidth: 3.5 });
  pen.strokeStyle = colors.backgroundColor;
  pen.fillStyle = colors.color;
}

// How many near-duplicates a point stands for.
function paintCounts(pen, colors, room) {
  startWriting(pen, colors, 700, 11);
  for (let row = 0; row < n; row++) {
    const { length } = copiesOf(row) ?? [];
    if (length < 2 || !state.shown[row] || state.opened.has(standFor[row]) || !isInView(camera.xs[row], camera.ys[row])) continue;
    const text = "\u00d7" + count(length), half = pen.measureText(text).width / 2;
    // Clear of the ring around a pick.
    const x = camera.xs[row] + dotSize() / 2 + 4 + half, y = camera.ys[row] - dotSize() / 2 - 2, box = [x - half, y - 6, x + half, y + 6];
    const isOver = imageAt(camera.xs[row], camera.ys[row]) === row;
    if (!isOver && !room.isFree(box)) continue;
    room.take(box);
    write(pen, text, ...isOver ? [camera.xs[row] + IMAGE / 2 - half, camera.ys[row] - IMAGE / 2 + 8] : [x, y]);
  }
}

// Names of large groups first, beside their place if need be; one without room waits for a closer view.
function paintNames(pen, colors, room) {
  startWriting(pen, colors, 600, 12.5);
  for (const { name, center } of namedGroups()) {
    const text = name.length > 28 ? name.slice(0, 27) + "\u2026" : name;
    const half = pen.measureText(text).width / 2 + 3, [u, v] = camera.place(center);
    if (u < 0 || u > camera.width || v < 0 || v > camera.height) continue;
    const x = Math.min(Math.max(u, half + 4), camera.width - half - 4);
    for (const y of [v, v - 17, v + 17, v - 34, v + 34]) {
      const box = [x - half, y - 8, x + half, y + 8];
      if (y < 8 || y > camera.height - 8 || !room.isFree(box)) continue;
      room.take(box);
      write(pen, text, x, y);
      break;
    }
  }
}

function namedGroups() {
  const { column } = state, hidden = state.filters.get(column)?.hidden;
  if (column?.kind !== "groups") return [];
  return column.names
    .map((name, i) => ({ center: column.centers[i], name, count: column.counts[i + 1], code: i + 1 }))
    .filter(({ code, center, count }) => center && count && !hidden?.has(code))
    .sort((one, other) => other.count - one.count);
}

// Apart, since it changes with every move of the pointer.
export const paintPointer = framed(() => {
  const { pen, colors } = clean($("#ink")), { current } = state;
  if (current >= 0) {
    pen.beginPath();
    for (const row of neighborsOf(current) ?? []) {
      if (!state.shown[row]) continue;
      pen.moveTo(camera.xs[current], camera.ys[current]);
      pen.lineTo(camera.xs[row], camera.ys[row]);
    }
    pen.globalAlpha = 0.45;
    pen.strokeStyle = colors.color;
    pen.stroke();
    pen.globalAlpha = 1;
    if (imageAt(camera.xs[current], camera.ys[current]) !== current) {
      paintRings(pen, [current], dotSize() / 2 + 4, colors.color, 2.5);
    }
  }
  if (gesture.outline) paintOutline(pen, colors);
});

function paintOutline(pen, colors) {
  pen.beginPath();
  for (const [x, y] of gesture.outline) pen.lineTo(x, y);
  pen.closePath();
  pen.globalAlpha = 0.1;
  pen.fillStyle = pen.strokeStyle = colors.color;
  pen.fill();
  pen.globalAlpha = 1;
  pen.lineWidth = 1.5;
  pen.setLineDash([5, 4]);
  pen.stroke();
}

on("chosen shown column labels matches", paint);
on("current", paintPointer);
new ResizeObserver(resize).observe(stage);
