// Dots into pixels, without the help of a graphics card: a million of them take a tenth of a second,
// on every machine alike.

// A round dot: how much of each pixel it covers, of 256.
export function stampOf(radius) {
  const reach = Math.ceil(radius - 0.5), side = 2 * reach + 1;
  const cover = new Uint16Array(side * side);
  for (let i = 0; i < cover.length; i++) {
    const far = Math.hypot(i % side - reach, Math.floor(i / side) - reach);
    cover[i] = Math.round(256 * Math.min(1, Math.max(0, radius + 0.5 - far)));
  }
  return { reach, side, cover };
}

// #rrggbb as a number whose bytes are red, green, blue, opaque.
export function pixelOf(color) {
  const [red, green, blue] = [1, 3, 5].map(i => parseInt(color.slice(i, i + 2), 16));
  return (255 << 24 | blue << 16 | green << 8 | red) >>> 0;
}

// Draws the rows that `mask` has, in the order of `rows`. Bytes 0 and 2, and byte 1, are mixed in one
// multiplication each: products stay within their 16 bits.
export function paintDots({ pixels, width, height, ratio }, { xs, ys, rows, mask, codes, colors }, stamp, opacity) {
  const { reach, side, cover } = stamp;
  const shares = cover.map(share => Math.round(share * opacity));
  for (let i = 0; i < rows.length; i++) {
    const row = rows[i];
    if (!mask[row]) continue;
    const left = Math.round(xs[row] * ratio) - reach, top = Math.round(ys[row] * ratio) - reach;
    if (left <= -side || top <= -side || left >= width || top >= height) continue;
    const color = colors[codes ? codes[row] : 1], outer = color & 0xff00ff, inner = color & 0xff00;
    const endX = Math.min(side, width - left), endY = Math.min(side, height - top);
    for (let y = Math.max(0, -top); y < endY; y++) {
      for (let x = Math.max(0, -left), at = (top + y) * width + left + x; x < endX; x++, at++) {
        const share = shares[y * side + x], under = pixels[at], ends = under & 0xff00ff, middle = under & 0xff00;
        pixels[at] = 0xff000000
          | ((ends << 8) + Math.imul(outer - ends, share)) >>> 8 & 0xff00ff
          | ((middle << 8) + Math.imul(inner - middle, share)) >>> 8 & 0xff00;
      }
    }
  }
}

// All rows in an order without meaning, always the same: so no group covers another, and any first
// part of it is an even sample.
export function shuffled(n) {
  const rows = Int32Array.from({ length: n }, (_, row) => row);
  let state = 1;
  for (let i = n - 1; i > 0; i--) {
    state = Math.imul(state, 1664525) + 1013904223 >>> 0;
    const j = Math.floor(state / 2 ** 32 * (i + 1)), row = rows[i];
    rows[i] = rows[j];
    rows[j] = row;
  }
  return rows;
}
