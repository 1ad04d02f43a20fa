// Pictures of points: cut from sprite sheets inside the page, or linked files.

const pictures = page.pictures;
const slots = pictures?.slots && numbersOf(Int32Array, pictures.slots);  // -1 unreadable, -2 left out
const sizes = pictures?.sizes && numbersOf(Uint16Array, pictures.sizes);
const sheets = new Map();

function sheet(number) {
  if (!sheets.has(number)) {
    const image = new Image();
    image.src = URL.createObjectURL(new Blob([bytesOf($("#sheet" + number).textContent)], { type: "image/webp" }));
    sheets.set(number, image.decode().then(() => image));
  }
  return sheets.get(number);
}

function remark(text) {
  const element = document.createElement("span");
  element.textContent = text;
  return element;
}

// An element that shows a point's picture with its longer side `longest` pixels long; null without pictures.
function pictureOf(row, longest) {
  if (!pictures) return null;
  return pictures.links ? linked(row, longest) : cut(row, longest);
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

function cut(row, longest) {
  const slot = slots[row];
  if (slot < 0) return remark(slot === -1 ? "image not readable" : "thumbnail left out");
  const [width, height] = [sizes[2 * slot], sizes[2 * slot + 1]];
  const scale = longest / Math.max(width, height), ratio = devicePixelRatio || 1;
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(width * scale * ratio));
  canvas.height = Math.max(1, Math.round(height * scale * ratio));
  canvas.style.width = canvas.width / ratio + "px";
  const inSheet = slot % pictures.per_sheet, side = pictures.side;
  const left = inSheet % pictures.columns * side, top = Math.floor(inSheet / pictures.columns) * side;
  sheet(Math.floor(slot / pictures.per_sheet)).then(image => {
    const pen = canvas.getContext("2d");
    pen.imageSmoothingQuality = "high";
    pen.drawImage(image, left, top, width, height, 0, 0, canvas.width, canvas.height);
    canvas.dataset.drawn = row;
  });
  return canvas;
}
