// What is seen: plotly draws the points in one WebGL trace, and a canvas over it what changes often.

const SVG_POINTS = 2000, WEBGL_POINTS = 100000, OVERLAY_POINTS = 50000, PAINTED_POINTS = 30000;
const BINS = 320;
const map = $("#map"), stage = $("#stage");
const dotSize = Math.min(9, Math.max(3, 9 * Math.sqrt(1000 / n)));

{
  const script = document.createElement("script");
  script.textContent = await unpack("#plotly").text();
  document.head.append(script);
}

const config = { displayModeBar: false, scrollZoom: true, doubleClick: false, responsive: true };
const limits = [xs, ys].map(values => {
  let low = Infinity, high = -Infinity;
  for (const value of values) { low = Math.min(low, value); high = Math.max(high, value) }
  const pad = (high - low || 1) * 0.04;
  return [low - pad, high + pad];
});

// A number of 32 bits for each row: those below a bound are an even sample, always the same.
const hash = row => Math.imul(row + 1, 0x9e3779b1) >>> 0;

// Ranges of both axes that show the whole map at one scale: plotly then has nothing to adjust.
function wholeView() {
  const pixels = [map.clientWidth, map.clientHeight];
  const scale = Math.max(...limits.map(([low, high], i) => (high - low) / pixels[i]));
  return limits.map(([low, high], i) => {
    const middle = (low + high) / 2, half = scale * pixels[i] / 2;
    return [middle - half, middle + half];
  });
}

// Rows to draw as dots: all, or of very many an even share, over a picture of their density.
function drawnRows() {
  const rows = rowsOf(state.shown);
  const most = hasWebGL ? WEBGL_POINTS : SVG_POINTS;
  if (rows.length <= most || is3d) return { rows, isSampled: false };
  const share = Math.min(OVERLAY_POINTS, most) / rows.length * 2 ** 32;
  return { rows: rows.filter(row => hash(row) < share), isSampled: true };
}

function dots(rows) {
  const take = values => Float32Array.from(rows, row => values[row]);
  const colors = state.column ? colorsOf(state.column) : [page.grey, page.plain];
  const type = is3d ? "scatter3d" : rows.length <= SVG_POINTS ? "scatter" : "scattergl";
  const marker = {
    color: state.column ? Int32Array.from(rows, row => state.column.codes[row]) : rows.map(() => 1),
    colorscale: colors.map((color, i) => [i / (colors.length - 1), color]),
    cmin: 0, cmax: colors.length - 1, showscale: false,
    size: is3d ? Math.max(2, dotSize * 0.6) : dotSize, opacity: 0.85, line: { width: 0 },
  };
  const trace = { type, mode: "markers", hoverinfo: "none", marker, x: take(xs), y: take(ys) };
  if (is3d) trace.z = take(zs);
  return trace;
}

// Logarithms, or a crowd would hide all else.
function density() {
  const [[left, right], [low, high]] = limits;
  const columnsOfBins = Array.from({ length: BINS }, () => new Float32Array(BINS));
  for (let row = 0; row < n; row++) {
    if (!state.shown[row]) continue;
    const i = Math.floor((xs[row] - left) / (right - left) * BINS);
    const j = Math.floor((ys[row] - low) / (high - low) * BINS);
    columnsOfBins[j][i] += 1;
  }
  const z = columnsOfBins.map(bins => bins.map(Math.log1p));
  const rgb = isDark() ? "232,235,240" : "28,35,48";
  return {
    type: "heatmap", z, x0: left + (right - left) / BINS / 2, dx: (right - left) / BINS,
    y0: low + (high - low) / BINS / 2, dy: (high - low) / BINS, hoverinfo: "skip",
    showscale: false, zsmooth: "fast", colorscale: [[0, `rgba(${rgb},0)`], [1, `rgba(${rgb},.62)`]],
  };
}

function ring(rows, size, color) {
  const take = values => rows.map(row => values[row]);
  const marker = { symbol: "circle-open", size, color, line: { width: 2, color } };
  return { type: "scatter3d", mode: "markers", hoverinfo: "skip", marker, x: take(xs), y: take(ys), z: take(zs) };
}

function layout() {
  const axis = { visible: false }, clear = "rgba(0,0,0,0)";
  const margin = { l: 0, r: 0, t: 0, b: 0 };
  const common = { margin, paper_bgcolor: clear, plot_bgcolor: clear, showlegend: false, uirevision: "map" };
  if (is3d) {
    const scene = { aspectmode: "data", xaxis: axis, yaxis: axis, zaxis: axis, annotations: notes() };
    return { ...common, hovermode: "closest", scene };
  }
  const [x, y] = wholeView();
  return {
    ...common, hovermode: false, dragmode: "pan",
    xaxis: { ...axis, range: x }, yaxis: { ...axis, range: y, scaleanchor: "x" },
  };
}

// Plotly reads tags and entities in what it writes itself.
function notes() {
  const escaped = text => text.replace(/&/g, "&amp;").replace(/</g, "&lt;");
  return labels().map(({ name, center: [x, y, z] }) => ({
    x, y, z, text: escaped(name), showarrow: false, font: { color: getComputedStyle(stage).color },
  }));
}

function labels() {
  const column = state.column;
  if (!state.names || column?.kind !== "groups") return [];
  return column.centers
    .map((center, i) => ({ center, code: i + 1, name: column.names[i], count: column.counts[i + 1] }))
    .filter(({ code, center }) => center && !state.hidden.has(code))
    .sort((one, other) => other.count - one.count);
}

let rowsDrawn = [];
async function draw() {
  const { rows, isSampled } = drawnRows();
  rowsDrawn = rows;
  const traces = isSampled ? [density(), dots(rows)] : [dots(rows)];
  if (is3d) {
    const color = getComputedStyle(stage).color;
    traces.push(ring(seen(page.picks), dotSize + 3, color));
    traces.push(ring(emphasized() ?? [], dotSize + 1, getComputedStyle($("#heading p")).color));
  }
  await Plotly.react(map, traces, layout(), config);
  const remarks = [...page.remarks];
  if (isSampled) remarks.push(`Dots: ${rows.length.toLocaleString("en")} of ${n.toLocaleString("en")} points; the shading shows all, and so do search, lasso and box.`);
  notice(remarks.join(" "));
  paint();
}

const seen = rows => [...rows].filter(row => state.shown[row]);

// Rows to stand out, null where none are meant to.
function emphasized() {
  if (!state.matches && !state.chosen.size) return null;
  return seen(new Set([...state.matches ?? [], ...state.chosen]));
}

// Calls made before the next frame are one.
function framed(action) {
  let isWaiting = false;
  return () => {
    if (isWaiting) return;
    isWaiting = true;
    requestAnimationFrame(() => { isWaiting = false; action() });
  };
}

function clean(canvas) {
  const ratio = devicePixelRatio || 1, { width, height } = map.getBoundingClientRect();
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  const pen = canvas.getContext("2d"), colors = getComputedStyle(stage);
  pen.scale(ratio, ratio);
  return { pen, colors, width, height };
}

// What stands out, rings around the picks, names of groups.
const paint = framed(() => {
  const rows = emphasized(), { pen, colors, width, height } = clean($("#marks"));
  map.classList.toggle("dimmed", !is3d && rows !== null);
  if (is3d) return;
  const at = frame();
  if (rows) paintDots(pen, at, rows);
  // Among what the search has found, what is chosen has a ring.
  const { accentColor } = getComputedStyle(root);
  if (state.matches) paintRings(pen, at, seen(state.chosen), dotSize / 2 + 3.5, accentColor, 2.5);
  paintRings(pen, at, seen(page.picks), dotSize / 2 + 1.5, colors.color, 1.4);
  paintNames(pen, at, colors, width, height);
  paintPointer();
});

// What follows the pointer, apart: it changes with every move.
const paintPointer = framed(() => {
  const { pen, colors } = clean($("#ink"));
  if (is3d) return;
  if (state.current >= 0) paintRings(pen, frame(), [state.current], dotSize / 2 + 4, colors.color, 2.5);
  paintOutline(pen, colors);
});

function paintDots(pen, { kx, bx, ky, by }, rows) {
  const colors = state.column ? colorsOf(state.column) : [page.grey, page.plain];
  const radius = dotSize / 2 + 0.5;
  const byCode = new Map();
  const share = PAINTED_POINTS / rows.length * 2 ** 32;
  for (const row of rows) {
    if (hash(row) >= share) continue;
    const code = state.column ? state.column.codes[row] : 1;
    if (!byCode.has(code)) byCode.set(code, new Path2D());
    const x = xs[row] * kx + bx, y = ys[row] * ky + by, path = byCode.get(code);
    if (rows.length > 5000) { path.rect(x - radius, y - radius, 2 * radius, 2 * radius); continue }
    path.moveTo(x + radius, y);
    path.arc(x, y, radius, 0, 7);
  }
  for (const [code, path] of byCode) { pen.fillStyle = colors[code]; pen.fill(path) }
}

function paintRings(pen, { kx, bx, ky, by }, rows, radius, color, width) {
  pen.beginPath();
  for (const row of rows) {
    const x = xs[row] * kx + bx, y = ys[row] * ky + by;
    pen.moveTo(x + radius, y);
    pen.arc(x, y, radius, 0, 7);
  }
  pen.strokeStyle = color;
  pen.lineWidth = width;
  pen.stroke();
}

// Names of large groups first; one that would lie on another waits for a closer view.
function paintNames(pen, { kx, bx, ky, by }, colors, width, height) {
  pen.font = `600 12.5px ${colors.fontFamily}`;
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  pen.lineJoin = "round";
  pen.lineWidth = 3.5;
  pen.strokeStyle = colors.backgroundColor;
  pen.fillStyle = colors.color;
  const taken = [];
  for (const { name, center } of labels()) {
    const text = name.length > 28 ? name.slice(0, 27) + "\u2026" : name;
    const half = pen.measureText(text).width / 2 + 3;
    let x = center[0] * kx + bx;
    const y = center[1] * ky + by;
    if (x < 0 || x > width || y < 0 || y > height) continue;
    x = Math.min(Math.max(x, half + 4), width - half - 4);
    if (taken.some(([u, v, w]) => Math.abs(x - u) < half + w && Math.abs(y - v) < 17)) continue;
    taken.push([x, y, half]);
    pen.strokeText(text, x, y);
    pen.fillText(text, x, y);
  }
}

function paintOutline(pen, colors) {
  if (!outline) return;
  pen.beginPath();
  for (const [x, y] of outline) pen.lineTo(x, y);
  pen.closePath();
  pen.globalAlpha = 0.1;
  pen.fillStyle = pen.strokeStyle = colors.color;
  pen.fill();
  pen.globalAlpha = 1;
  pen.lineWidth = 1.5;
  pen.setLineDash([5, 4]);
  pen.stroke();
}
