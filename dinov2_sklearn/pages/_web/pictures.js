// Pictures of points: small copies inside the page, or linked files.

const pictures = page.pictures;
const lengths = pictures?.lengths && numbersOf(Int32Array, pictures.lengths);  // -1 unreadable, 0 left out
const sizes = pictures?.sizes && numbersOf(Uint16Array, pictures.sizes);
let place = 0;
const places = lengths?.map(length => {
  place += Math.max(0, length);
  return place - length;
});

function remark(text) {
  const element = document.createElement("span");
  element.textContent = text;
  return element;
}

// An element that shows a point's picture with its longer side `longest` pixels long; null without pictures.
function pictureOf(row, longest) {
  if (!pictures) return null;
  return pictures.links ? linked(row, longest) : own(row, longest);
}

function linked(row, longest) {
  const image = new Image();
  image.loading = "lazy";
  image.alt = "";
  image.style.maxWidth = image.style.maxHeight = longest + "px";
  image.onerror = () => image.replaceWith(remark("image not readable"));
  image.src = pictures.links[row];
  return image;
}

function own(row, longest) {
  if (lengths[row] <= 0) return remark(lengths[row] ? "image not readable" : "thumbnail left out");
  const [width, height] = [sizes[2 * row], sizes[2 * row + 1]];
  const scale = longest / Math.max(width, height), ratio = devicePixelRatio || 1;
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(width * scale * ratio));
  canvas.height = Math.max(1, Math.round(height * scale * ratio));
  canvas.style.width = canvas.width / ratio + "px";
  const text = $("#thumbnails").textContent.slice(places[row], places[row] + lengths[row]);
  createImageBitmap(new Blob([bytesOf(text)], { type: "image/webp" })).then(image => {
    const pen = canvas.getContext("2d");
    pen.imageSmoothingQuality = "high";
    pen.drawImage(image, 0, 0, canvas.width, canvas.height);
    canvas.dataset.drawn = row;
  });
  return canvas;
}
