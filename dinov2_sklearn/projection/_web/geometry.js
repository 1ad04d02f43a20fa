// Where points are on the screen, and which are near a place or inside an outline. All of it works
// on the coordinates themselves, so that a row is a row whatever is drawn, in whatever colours.

const MARGIN = 1.08, MOST_ZOOM = 5000, LEAST_ZOOM = 0.3;

// Turns points of two or three coordinates into pixels: without perspective, all at one scale.
export class Camera {
  constructor(axes) {
    this.axes = axes;
    const ends = axes.map(endsOf);
    this.middle = ends.map(([low, high]) => (low + high) / 2);
    const spans = ends.map(([low, high]) => high - low);
    // Three coordinates turn: whichever way, a ball around them is seen whole.
    this.spans = axes.length === 3 ? [Math.hypot(...spans), Math.hypot(...spans)] : spans;
    this.xs = new Float32Array(axes[0].length);
    this.ys = new Float32Array(axes[0].length);
    Object.assign(this, { width: 1, height: 1, whole: 1, scale: 1, left: 0, up: 0, yaw: 0.6, tilt: 0.5 });
  }

  get zoom() { return this.scale / this.whole }

  resize(width, height) {
    Object.assign(this, { width, height });
    const fits = [width / this.spans[0], height / this.spans[1]].filter(Number.isFinite);
    const whole = fits.length ? Math.min(...fits) / MARGIN : 1, ratio = whole / this.whole;
    this.whole = whole;
    for (const name of ["scale", "left", "up"]) this[name] *= ratio;
  }

  showWhole() { Object.assign(this, { scale: this.whole, left: 0, up: 0 }) }

  move(dx, dy) { this.left += dx; this.up += dy }

  // So that the place under (x, y) stays there.
  zoomBy(factor, x = this.width / 2, y = this.height / 2) {
    const scale = Math.min(MOST_ZOOM * this.whole, Math.max(LEAST_ZOOM * this.whole, this.scale * factor));
    const ratio = scale / this.scale, dx = x - this.width / 2, dy = y - this.height / 2;
    this.left = dx + (this.left - dx) * ratio;
    this.up = dy + (this.up - dy) * ratio;
    this.scale = scale;
  }

  turn(dx, dy) {
    this.yaw += dx / 150;
    this.tilt = Math.min(Math.PI / 2, Math.max(-Math.PI / 2, this.tilt + dy / 150));
  }

  // Weights of the coordinates in x and in y on the screen.
  weights() {
    if (this.axes.length < 3) return [[1, 0, 0], [0, 1, 0]];
    const [sin, cos, up, flat] = [Math.sin(this.yaw), Math.cos(this.yaw), Math.sin(this.tilt), Math.cos(this.tilt)];
    return [[cos, sin, 0], [sin * up, -cos * up, flat]];
  }

  place(point) {
    const [u, v] = this.weights().map(weights =>
      point.reduce((sum, value, i) => sum + weights[i] * (value - this.middle[i]), 0));
    return [this.width / 2 + this.left + u * this.scale, this.height / 2 + this.up - v * this.scale];
  }

  // Fills `xs` and `ys`: where each row is.
  project() {
    const { axes: [as, bs, cs], middle: [a, b, c], xs, ys, scale } = this;
    const [[ua, ub, uc], [va, vb, vc]] = this.weights();
    const left = this.width / 2 + this.left, top = this.height / 2 + this.up;
    for (let row = 0; row < xs.length; row++) {
      const da = as[row] - a, db = bs[row] - b, dc = cs ? cs[row] - c : 0;
      xs[row] = left + (ua * da + ub * db + uc * dc) * scale;
      ys[row] = top - (va * da + vb * db + vc * dc) * scale;
    }
  }
}

export function endsOf(values) {
  let low = Infinity, high = -Infinity;
  for (const value of values) { if (value < low) low = value; if (value > high) high = value }
  return [low, high];
}

export function nearest(xs, ys, shown, x, y, radius) {
  let best = -1, least = radius * radius;
  for (let row = 0; row < xs.length; row++) {
    if (!shown[row]) continue;
    const dx = xs[row] - x, dy = ys[row] - y, far = dx * dx + dy * dy;
    if (far <= least) { best = row; least = far }
  }
  return best;
}

// The nearest point that lies more in the direction (ux, uy) than beside it.
export function neighbor(xs, ys, shown, row, ux, uy) {
  let best = row, least = Infinity;
  for (let other = 0; other < xs.length; other++) {
    if (!shown[other] || other === row) continue;
    const dx = xs[other] - xs[row], dy = ys[other] - ys[row];
    const along = dx * ux + dy * uy, beside = Math.abs(dx * uy - dy * ux);
    if (along > 0.5 && beside <= along && along + 2 * beside < least) {
      best = other;
      least = along + 2 * beside;
    }
  }
  return best;
}

// Rows inside an outline, by how often a ray to the right meets it. A point looks only at the edges
// that cross its own line of pixels: a lasso has hundreds.
export function enclosed(xs, ys, shown, outline) {
  const [left, right] = endsOf(outline.map(corner => corner[0]));
  const [top, bottom] = endsOf(outline.map(corner => corner[1]));
  const lines = Array.from({ length: Math.floor(bottom - top) + 1 }, () => []);
  outline.forEach(([x, y], i) => {
    const [u, v] = outline.at(i - 1);
    const last = Math.floor(Math.max(y, v) - top);
    for (let line = Math.floor(Math.min(y, v) - top); line <= last; line++) lines[line].push([x, y, u, v]);
  });
  const rows = [];
  for (let row = 0; row < xs.length; row++) {
    const x = xs[row], y = ys[row];
    if (!shown[row] || x < left || x > right || y < top || y > bottom) continue;
    let inside = false;
    for (const [xi, yi, xj, yj] of lines[Math.floor(y - top)]) {
      if (yi > y !== yj > y && x < (xj - xi) * (y - yi) / (yj - yi) + xi) inside = !inside;
    }
    if (inside) rows.push(row);
  }
  return rows;
}

// Boxes that do not overlap, found by the squares of a grid that they touch.
export class Room {
  constructor(side = 64) { this.side = side; this.squares = new Map() }

  *touched([left, top, right, bottom]) {
    const { side } = this;
    for (let i = Math.floor(left / side); i <= Math.floor(right / side); i++) {
      for (let j = Math.floor(top / side); j <= Math.floor(bottom / side); j++) yield i * 65536 + j;
    }
  }

  isFree(box) {
    const [left, top, right, bottom] = box;
    for (const square of this.touched(box)) {
      for (const [l, t, r, b] of this.squares.get(square) ?? []) {
        if (left < r && l < right && top < b && t < bottom) return false;
      }
    }
    return true;
  }

  take(box) {
    for (const square of this.touched(box)) {
      if (!this.squares.has(square)) this.squares.set(square, []);
      this.squares.get(square).push(box);
    }
  }
}

// In each square of a grid, the row nearest to the middle of its rows, those of full squares first.
// The grid moves with the map, so that moving changes nobody's place.
export function centralRows(camera, shown, side) {
  const { xs, ys, width, height } = camera;
  const startX = (camera.left % side + side) % side - side, startY = (camera.up % side + side) % side - side;
  const across = Math.ceil((width - startX) / side), squares = new Map();
  const each = action => {
    for (let row = 0; row < xs.length; row++) {
      const x = xs[row], y = ys[row];
      if (!shown[row] || x < 0 || y < 0 || x > width || y > height) continue;
      action(row, x, y, Math.floor((y - startY) / side) * across + Math.floor((x - startX) / side));
    }
  };
  each((row, x, y, at) => {
    const square = squares.get(at);
    if (!square) squares.set(at, { count: 1, x, y, row: -1, far: Infinity });
    else { square.count++; square.x += x; square.y += y }
  });
  each((row, x, y, at) => {
    const square = squares.get(at);
    const far = Math.hypot(x - square.x / square.count, y - square.y / square.count);
    if (far < square.far) Object.assign(square, { row, far });
  });
  return [...squares.values()].sort((one, other) => other.count - one.count).map(square => square.row);
}
