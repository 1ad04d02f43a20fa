// Pictures of points: small copies inside the page, or linked files.

import { bytesOf, numbersOf } from "./bytes.js";
import { $, page } from "./page.js";

const MOST_KEPT = 600;
export const pictures = page.pictures;
const lengths = pictures?.lengths && numbersOf(Int32Array, pictures.lengths);  // -1 unreadable, 0 left out
const sizes = pictures?.sizes && numbersOf(Uint32Array, pictures.sizes);
let place = 0;
const places = lengths?.map(length => {
  place += Math.max(0, length);
  return place - length;
});

export const linkOf = row => page.links?.[row] ?? null;
const isInside = row => Boolean(lengths) && lengths[row] > 0;
export const hasPicture = row => Boolean(pictures) && (pictures.linked || isInside(row));

function remark(text) {
  const element = document.createElement("span");
  element.textContent = text;
  return element;
}

// The last ones that were asked for are kept: what is seen is asked for again and again.
const kept = new Map();
export function bitmapOf(row) {
  const bitmap = kept.get(row) ?? (pictures.linked ? load(linkOf(row)) : decode(row));
  kept.delete(row);
  kept.set(row, bitmap);
  if (kept.size > MOST_KEPT) kept.delete(kept.keys().next().value);
  return bitmap;
}

function decode(row) {
  const text = $("#thumbnails").textContent.slice(places[row], places[row] + lengths[row]);
  return createImageBitmap(new Blob([bytesOf(text)], { type: "image/webp" }));
}

function load(link) {
  const image = new Image();
  image.src = link;
  return image.decode().then(() => image);
}

// An element that shows a point's picture with its longer side `longest` pixels long; null without pictures.
export function pictureOf(row, longest) {
  if (!pictures) return null;
  return pictures.linked ? linked(row, longest) : own(row, longest);
}

function linked(row, longest) {
  const image = new Image();
  image.loading = "lazy";
  image.alt = "";
  image.style.maxWidth = image.style.maxHeight = longest + "px";
  image.onerror = () => image.replaceWith(remark("image not readable"));
  image.src = linkOf(row);
  return image;
}

function own(row, longest) {
  if (!isInside(row)) return remark(lengths[row] ? "image not readable" : "thumbnail left out");
  const [width, height] = [sizes[2 * row], sizes[2 * row + 1]];
  const scale = longest / Math.max(width, height), ratio = devicePixelRatio || 1;
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(width * scale * ratio));
  canvas.height = Math.max(1, Math.round(height * scale * ratio));
  canvas.style.width = canvas.width / ratio + "px";
  bitmapOf(row).then(image => {
    const pen = canvas.getContext("2d");
    pen.imageSmoothingQuality = "high";
    pen.drawImage(image, 0, 0, canvas.width, canvas.height);
    canvas.dataset.drawn = row;
  });
  return canvas;
}

// The image itself where the browser can open it, else the small copy.
export function largePicture(row, longest) {
  if (!linkOf(row)) return pictureOf(row, longest) ?? remark("no image");
  const image = new Image();
  image.alt = "";
  image.onerror = () => image.replaceWith(isInside(row) ? own(row, longest) : remark("image not readable"));
  image.src = linkOf(row);
  return image;
}

// Width and height of the image itself.
export async function sizeOf(row) {
  if (isInside(row)) return [sizes[2 * row], sizes[2 * row + 1]];
  const image = await load(linkOf(row));
  return [image.naturalWidth, image.naturalHeight];
}

export function openImage(row) {
  const link = Object.assign(document.createElement("a"), { href: linkOf(row), target: "_blank", rel: "noopener" });
  link.click();
}
