// Where points are on the screen, and which are near it or inside an outline. All of it works on
// the coordinates themselves, so that a row is a row whatever is drawn, in whatever colours.

// Pixels of the map from coordinates: x * kx + bx, y * ky + by.
function frame() {
  const { xaxis, yaxis } = map._fullLayout;
  const kx = xaxis._length / (xaxis.range[1] - xaxis.range[0]);
  const ky = -yaxis._length / (yaxis.range[1] - yaxis.range[0]);
  return {
    kx, bx: xaxis._offset - xaxis.range[0] * kx,
    ky, by: yaxis._offset - yaxis.range[1] * ky,
  };
}

function nearest(px, py, radius) {
  const { kx, bx, ky, by } = frame();
  let best = -1, least = radius * radius;
  for (let row = 0; row < n; row++) {
    if (!state.shown[row]) continue;
    const dx = xs[row] * kx + bx - px, dy = ys[row] * ky + by - py, far = dx * dx + dy * dy;
    if (far <= least) { best = row; least = far }
  }
  return best;
}

// The nearest point that lies more in the direction (ux, uy) than beside it.
function neighbor(row, ux, uy) {
  const { kx, bx, ky, by } = frame();
  let best = row, least = Infinity;
  for (let other = 0; other < n; other++) {
    if (!state.shown[other] || other === row) continue;
    const dx = (xs[other] - xs[row]) * kx, dy = (ys[other] - ys[row]) * ky;
    const along = dx * ux + dy * uy, beside = Math.abs(dx * uy - dy * ux);
    if (along > 0.5 && beside <= along && along + 2 * beside < least) {
      best = other;
      least = along + 2 * beside;
    }
  }
  return best;
}

function enclosed(outline) {
  const { kx, bx, ky, by } = frame(), rows = [];
  for (let row = 0; row < n; row++) {
    if (state.shown[row] && isInside(xs[row] * kx + bx, ys[row] * ky + by, outline)) rows.push(row);
  }
  return rows;
}

// Even-odd: how often a ray to the right meets the outline.
function isInside(x, y, outline) {
  let inside = false;
  for (let i = 0, j = outline.length - 1; i < outline.length; j = i++) {
    const [xi, yi] = outline[i], [xj, yj] = outline[j];
    if (yi > y !== yj > y && x < (xj - xi) * (y - yi) / (yj - yi) + xi) inside = !inside;
  }
  return inside;
}
