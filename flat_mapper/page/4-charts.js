// The charts: Vega-Lite specifications from the report, the data and colours from here.

const views = new Map();
const PAINTED = 3000; // marks
const ROOFS = 4; // chips whose roofs are drawn at once
const FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif';

function theme() {
  const narrow = innerWidth < 560;
  const grid = state.dark ? "#262f38" : "#e8ecf0";
  return {
    background: null,
    font: FONT,
    view: { stroke: null },
    axis: { labelColor: faint(), titleColor: faint(), gridColor: grid, domainColor: state.dark ? "#46525e" : "#b6c0ca", tickColor: state.dark ? "#46525e" : "#b6c0ca", labelFontSize: 11.5, titleFontSize: 11.5, titleFontWeight: 500, titlePadding: 8, labelPadding: 5 },
    axisY: { labelLimit: narrow ? 105 : 250 },
    axisBand: { grid: false, labelColor: ink(), labelFontSize: narrow ? 11 : 12.5 },
    text: { color: ink(), fontSize: 11.5, font: FONT },
  };
}

// A specification with the words that start with @ replaced by what they stand for.
function filled(part, tokens) {
  if (typeof part === "string") return part in tokens ? tokens[part] : part;
  if (Array.isArray(part)) return part.length === 1 && part[0] in tokens ? tokens[part[0]] : part.map((inner) => filled(inner, tokens));
  if (part === null || typeof part !== "object") return part;
  return Object.fromEntries(Object.entries(part).map(([key, inner]) => [key, filled(inner, tokens)]));
}

// A chart in its place. `bands` is how many rows a chart has whose height depends on them. Thousands
// of marks are painted instead of being elements of the page, which are named but slow.
async function draw(id, chart, datasets, tokens = {}, bands = 0) {
  const place = at(id);
  if (!place) return;
  if (!Object.values(datasets)[0].length) {
    views.get(id)?.finalize();
    views.delete(id);
    place.replaceChildren(node("p", { class: "note" }, "Nothing to draw."));
    return;
  }
  const spec = { ...filled(SPECS[chart], tokens), datasets, autosize: { type: "fit-x", contains: "padding" } };
  if (bands) spec.height = spec.height.step * bands;
  const renderer = Math.max(...Object.values(datasets).map((rows) => rows.length)) > PAINTED ? "canvas" : "svg";
  const old = views.get(id);
  const made = await vegaEmbed(place, spec, { mode: "vega-lite", renderer, actions: false, config: theme(), expressionFunctions: { si: (v, u) => si(v, u, 3), bytes: (v) => bytes(v, 3), plain: (v) => digits(v, 3) }, tooltip: { theme: state.dark ? "dark" : "light", sanitize: (text) => escaped(text) } });
  if (old) old.finalize();
  views.set(id, made);
  made.view.addEventListener("click", (_, item) => {
    if (item && item.datum && item.datum.i !== undefined) pick(item.datum.i);
  });
}

function escaped(text) {
  return String(text).replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]);
}

function legend(id, items) {
  const seen = new Map(items.map(([name, hue]) => [name, hue]));
  at(id).replaceChildren(...[...seen].map(([name, hue]) => node("span", { hue }, node("i"), name)));
}

// Names by what differs among a few rows; the numbers of the table where that is long.
function barNames(rows) {
  const paths = DATA.varying.filter((path) => new Set(rows.map((row) => row.inputs[path])).size > 1);
  const told = (row, path) => (numeric(path) ? `${short(path)}=${inputText(row.inputs[path])}` : inputText(row.inputs[path]));
  const names = rows.map((row) => (DATA.rows.length > SHOWN ? paths.map((path) => told(row, path)).join(" · ") : row.name));
  const plain = new Set(names).size === rows.length && names.every((name) => name && name.length <= 40);
  return plain ? names : rows.map((row) => `#${row.i + 1}`);
}

function drawCosts(rows) {
  const shown = rows.filter((row) => row.status === "done").slice(0, SHOWN);
  const done = rows.filter((row) => row.status === "done").length;
  at("costs-note").textContent = done > shown.length ? `The first ${SHOWN} rows of the table, in its order.` : "";
  legend("speedup-legend", [...new Set(shown.map((r) => r.bottleneck))].map((name) => [`limited by ${name}`, colour("component", name)]));
  const names = barNames(shown);
  const bars = shown.map((r, k) => ({ ...r, bar: names[k], color: colour("component", r.bottleneck) }));
  const kind = state.part === "component" ? "component" : "tensor";
  const parts = shown.flatMap((row, k) => {
    let start = 0;
    const listed = Object.entries(row.by[state.part]).sort((a, b) => known[kind].indexOf(a[0]) - known[kind].indexOf(b[0]));
    return listed.map(([part, joules]) => {
      const share = percent(joules / row.energy);
      const piece = { i: row.i, bar: names[k], name: row.name, part, start, end: start + joules, color: colour(kind, part), value_t: si(joules, "J"), share_t: share, say: `${row.name}, ${part}: ${si(joules, "J")}, ${share} of its energy` };
      start += joules;
      return piece;
    });
  });
  const listed = known[kind].filter((name) => parts.some((p) => p.part === name));
  legend("energy-legend", listed.map((name) => [name, colour(kind, name)]));
  const totals = shown.map((r, k) => ({ bar: names[k], energy: r.energy, energy_t: r.energy_t }));
  return [draw("speedup", "speedup", { shown: bars }, {}, shown.length || 1), draw("energy", "energy", { parts, shown: totals }, {}, shown.length || 1)];
}

// Marks of whole configurations, and of the Einsums of those that have details.
function roofMarks(rows) {
  const done = rows.filter((row) => row.status === "done" && row.intensity);
  const marks = done.map((row) => mark(row, row.name, "whole configuration", row.rate, row.intensity, Object.values(row.roofs.units)[0], "circle", row.i === state.picked ? 190 : 110, done.length <= 8 ? row.name : ""));
  for (const row of done.slice(0, SHOWN)) {
    const detail = DATA.details[row.i];
    if (!detail) continue;
    for (const [name, einsum] of Object.entries(detail.einsums)) {
      const vector = detail.units[einsum.unit] === "vector";
      const what = einsum.intensity === null ? `Einsum on ${einsum.unit}, nothing off chip` : `Einsum on ${einsum.unit}`;
      marks.push(mark(row, `${name} of ${row.name}`, what, einsum.rate, einsum.intensity, row.roofs.units[einsum.unit], vector ? "triangle-up" : "diamond", row.i === state.picked ? 62 : 40, row.i === state.picked ? name : ""));
    }
  }
  return marks;
}

function mark(row, name, what, rate, intensity, peak, shape, size, label) {
  const told = intensity === null ? "no off-chip words" : si(intensity, "", 4);
  return { i: row.i, name, what, rate, intensity, shape, size, label, color: hueOf(row), rate_t: si(rate, "/s"), intensity_t: told, share_t: percent(rate / peak), say: `${name}: ${si(rate, " computes per second")}, ${told} computes per off-chip byte` };
}

// Decades, and 2 and 5 between them where a log axis spans few; powers of two for bytes.
function logTicks([from, to]) {
  const steps = Math.log10(to / from) > 3.2 ? [1] : [1, 2, 5];
  const found = [];
  for (let power = Math.floor(Math.log10(from)); power <= Math.ceil(Math.log10(to)); power += 1)
    for (const step of steps) found.push(step * 10 ** power);
  return found.filter((tick) => tick >= from * 0.999 && tick <= to * 1.001);
}

function binaryTicks([from, to]) {
  const found = [];
  const step = Math.max(1, Math.round(Math.log2(to / from) / 8));
  for (let power = Math.ceil(Math.log2(from)); power <= Math.log2(to); power += step) found.push(2 ** power);
  return found;
}

function byteTicks(most, count = 5) {
  const step = 2 ** Math.ceil(Math.log2(most / count));
  return Array.from({ length: Math.floor(most / step) + 1 }, (_, k) => k * step);
}

// A scale with room at its ends, to pixels and back.
function axisOf(values, log, length) {
  const [into, out] = log ? [Math.log, Math.exp] : [(v) => v, (v) => v];
  const [low, high] = [into(Math.min(...values)), into(Math.max(...values))];
  const room = (high - low || Math.abs(high) || 1) * 0.07;
  const [from, to] = [low - room, high + room];
  return { domain: [out(from), out(to)], to: (v) => (length * (into(v) - from)) / (to - from), back: (px) => out(from + (px / length) * (to - from)) };
}

// Where labels can stand without covering each other: right, left, above or below their points.
// A label that finds no room is left out; the hover still tells it.
function placed(labels, width, height, lines = []) {
  const taken = lines.map(([px, py]) => ({ left: px - 2, right: px + 2, top: py - 1, bottom: py + 1 }));
  const clear = (box) => box.left >= 0 && box.right <= width && box.top >= 0 && box.bottom <= height && !taken.some((t) => box.left < t.right && box.right > t.left && box.top < t.bottom && box.bottom > t.top);
  const found = [];
  for (const label of labels) if (label.radius) taken.push({ left: label.px - label.radius, right: label.px + label.radius, top: label.py - label.radius, bottom: label.py + label.radius });
  for (const label of labels) {
    if (!label.text) continue;
    const [w, h, r] = [label.text.length * 6.3 + 4, 14, (label.radius ?? 0) + 3];
    const spots = label.spots ?? [[r + w / 2, 0], [-r - w / 2, 0], [0, -r - h / 2], [0, r + h / 2], [r + w / 2, -h], [-r - w / 2, -h], [r + w / 2, h], [-r - w / 2, h]];
    for (const [dx, dy] of spots) {
      const [x, y] = [label.px + dx, label.py + dy];
      const box = { left: x - w / 2, right: x + w / 2, top: y - h / 2, bottom: y + h / 2 };
      if (!clear(box)) continue;
      taken.push(box);
      found.push({ text: label.text, x, y, color: label.color });
      break;
    }
  }
  return found;
}

// The lines of the first few different chips among the rows.
function roofLines(roofs, x, y) {
  const lines = [];
  const names = [];
  const seen = new Map(); // a roof that several chips share is drawn once, from its leftmost end
  roofs.forEach((roof, k) => {
    const most = Math.max(...Object.values(roof.units));
    const knee = roof.bytes ? most / roof.bytes : x[0];
    const line = (name, solid, ...ends) => ends.forEach(([intensity, rate], order) => lines.push({ roof: `${name} ${k}`, color: faint(), dash: solid ? [1, 0] : [4, 3], intensity, rate, order }));
    for (const [unit, peak] of Object.entries(roof.units)) {
      const start = roof.bytes ? Math.max(x[0], peak / roof.bytes) : x[0];
      const text = `${unit} ${si(peak, "/s")}`;
      const before = seen.get(text);
      if (before) {
        before.intensity = Math.min(before.intensity, start);
        continue;
      }
      line(unit, peak === most, [start, peak], [x[1], peak]);
      seen.set(text, lines.at(-2));
      names.push({ intensity: x[1], rate: peak, text });
    }
    if (!roof.bytes) return;
    const start = Math.max(x[0], y[0] / roof.bytes);
    line(roof.offchip, true, [start, start * roof.bytes], [knee, most]);
    names.push({ intensity: knee, rate: most, text: `${roof.offchip} ${si(roof.bytes, "B/s")}` });
  });
  return [lines, names];
}

function drawRoofline(rows) {
  const marks = roofMarks(rows);
  const everything = DATA.rows.filter((row) => row.status === "done");
  if (!everything.length) return [];
  const roofs = DATA.roofs;
  const peaks = roofs.map((r) => Math.max(...Object.values(r.units)));
  const xs = everything.map((row) => row.intensity).concat(marks.map((m) => m.intensity)).filter(Boolean);
  const knees = roofs.filter((r) => r.bytes).map((r) => Math.max(...Object.values(r.units)) / r.bytes);
  const x = [Math.min(...xs, ...knees) / 2.5, Math.max(...xs, ...knees) * 4];
  const y = [Math.min(...everything.map((row) => row.rate), ...marks.map((m) => m.rate), ...peaks) / 2.5, Math.max(...peaks) * 2];
  for (const m of marks) if (m.intensity === null) m.intensity = x[1] / 1.25;
  const chips = [...new Set(rows.filter((row) => row.status === "done").map((row) => row.roofs))];
  const [lines, names] = roofLines(chips.slice(0, ROOFS), x, y);
  const [width, height] = [Math.max(200, at("roofline-chart").clientWidth - 70), 330];
  const px = (v) => (width * Math.log(v / x[0])) / Math.log(x[1] / x[0]);
  const py = (v) => height - (height * Math.log(v / y[0])) / Math.log(y[1] / y[0]);
  const labels = [
    ...marks.map((m) => ({ text: m.label, px: px(m.intensity), py: py(m.rate), radius: Math.sqrt(m.size) / 2, color: m.color })),
    ...names.map((n) => ({ text: n.text, px: px(n.intensity), py: py(n.rate), color: faint(), spots: [[-6, -9], [-6, 10], [-40, -14], [-80, -34], [-6, -24]].map(([dx, dy]) => [dx - n.text.length * 3.2, dy]) })),
  ];
  const back = ({ text, x: left, y: top, color }) => ({ text, color, intensity: x[0] * (x[1] / x[0]) ** (left / width), rate: y[0] * (y[1] / y[0]) ** ((height - top) / height) });
  const along = (a, b) => Array.from({ length: 160 }, (_, k) => [px(a.intensity) + ((px(b.intensity) - px(a.intensity)) * k) / 159, py(a.rate) + ((py(b.rate) - py(a.rate)) * k) / 159]);
  const drawn = lines.filter((line) => line.order).flatMap((line) => along(lines[lines.indexOf(line) - 1], line));
  const texts = placed(labels, width, height, drawn).map(back);
  legend("roofline-legend", rows.filter((r) => r.status === "done").map((row) => [tells(row), hueOf(row)]));
  if (chips.length > ROOFS) at("roofline-legend").append(node("span", {}, `roofs of the first ${ROOFS} of ${whole(chips.length)} chips in the table`));
  const tokens = { "@xdomain": x, "@ydomain": y, "@xticks": logTicks(x), "@yticks": logTicks(y) };
  return [draw("roofline-chart", "roofline", { points: marks, roofs: lines, texts }, tokens)];
}

function drawCurves(rows) {
  if (!at("curves-chart")) return [];
  const done = rows.filter((row) => row.status === "done" && row.capacity);
  const curves = done.map((row) => ({ ...row, series: DATA.varying.filter((p) => !DATA.buffer_inputs.includes(p)).map((p) => row.inputs[p]).join(" "), color: hueOf(row) }));
  curves.sort((a, b) => a.capacity - b.capacity);
  legend("curves-legend", done.map((row) => [tells(row), hueOf(row)]));
  return [draw("curves-chart", "curves", { curves })];
}

const COSTS = {
  latency: { title: "latency", unit: "si(datum.value, 's')", shown: (v) => si(v, "s") },
  energy: { title: "energy", unit: "si(datum.value, 'J')", shown: (v) => si(v, "J") },
  edp: { title: "energy-delay product", unit: "si(datum.value, 'J·s')", shown: (v) => si(v, "J·s") },
  offchip: { title: "off-chip traffic", unit: "bytes(datum.value)", shown: (v) => bytes(v) },
  capacity: { title: "capacity of the shared buffer", unit: "bytes(datum.value)", shown: (v) => bytes(v) },
  live: { title: "buffer in use", unit: "bytes(datum.value)", shown: (v) => bytes(v) },
  area: { title: "area (mm²)", unit: "plain(datum.value)", shown: (v) => `${digits(v, 3)} mm²` },
};

// Of points with two costs, those that no other beats in both.
function frontOf(points) {
  let best = Infinity;
  return [...points].sort((a, b) => a.x - b.x || a.y - b.y).filter((p) => {
    const better = p.y < best;
    if (better) best = p.y;
    return better;
  });
}

function drawPareto(rows) {
  if (!at("pareto-chart")) return [];
  const { across, up } = state;
  const done = rows.filter((row) => row.status === "done" && row[across] && row[up]);
  const points = done.map((row) => ({ ...row, x: row[across], y: row[up], color: hueOf(row) }));
  const front = frontOf(points);
  const first = new Set(front.map((p) => p.i));
  for (const p of points) Object.assign(p, { opacity: first.has(p.i) ? 1 : 0.4, size: p.i === state.picked ? 190 : first.has(p.i) ? 90 : 38 });
  const plain = (key) => COSTS[key].title.replace(" (mm²)", "");
  at("pareto-note").textContent = `On the front: ${whole(front.length)} of ${whole(points.length)} configurations. No other has both less ${plain(across)} and less ${plain(up)}.`;
  legend("pareto-legend", done.map((row) => [tells(row), hueOf(row)]));
  const wide = [points.map((p) => p.x), points.map((p) => p.y)].some((vs) => Math.max(...vs) > 15 * Math.min(...vs));
  const line = front.map((p) => ({ x: p.x, y: p.y, ink: faint() }));
  const ticks = (key, values) => {
    const ends = [Math.min(...values) / 1.1, Math.max(...values) * 1.1];
    return COSTS[key].unit.startsWith("bytes") ? binaryTicks(ends) : logTicks(ends);
  };
  const tokens = { "@xticks": ticks(across, points.map((p) => p.x)), "@yticks": ticks(up, points.map((p) => p.y)), "@xtitle": COSTS[across].title, "@ytitle": COSTS[up].title, "@xlabel": COSTS[across].unit, "@ylabel": COSTS[up].unit };
  if (!points.length) return [draw("pareto-chart", "pareto", { costs: [] })];
  const [width, height] = [Math.max(200, at("pareto-chart").clientWidth - 70), 320];
  const x = axisOf(points.map((p) => p.x), wide, width);
  const y = axisOf(points.map((p) => p.y), wide, height);
  const labels = points.map((p) => ({ text: points.length <= 12 ? p.name : "", px: x.to(p.x), py: height - y.to(p.y), radius: Math.sqrt(p.size) / 2, color: p.color }));
  const texts = placed(labels, width, height).map((t) => ({ ...t, x: x.back(t.x), y: y.back(height - t.y) }));
  return [draw("pareto-chart", wide ? "pareto_log" : "pareto", { costs: points, front: line, texts }, { ...tokens, "@xdomain": x.domain, "@ydomain": y.domain })];
}
