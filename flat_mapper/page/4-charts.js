// The charts: Vega-Lite specifications from the report, the data and colours from here.

const views = new Map();
const fillers = new Map(); // chart -> how to fill it, for a change of theme or width
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

function toElement(id, rows) {
  const place = at(id);
  if (!place) return null;
  place.dataset.rows = rows;
  return place;
}

async function draw(id, chart, datasets, tokens = {}) {
  const place = toElement(id, Object.values(datasets)[0].length);
  if (!place) return;
  fillers.set(id, () => draw(id, chart, datasets, tokens));
  const spec = { ...filled(SPECS[chart], tokens), datasets, autosize: { type: "fit-x", contains: "padding" } };
  const old = views.get(id);
  const made = await vegaEmbed(place, spec, { mode: "vega-lite", renderer: "svg", actions: false, config: theme(), expressionFunctions: { si: (v, u) => si(v, u, 3), bytes: (v) => bytes(v, 3) }, tooltip: { theme: state.dark ? "dark" : "light", sanitize: (text) => escaped(text) } });
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

function drawCosts(rows) {
  const shown = rows.filter((row) => row.status === "done").slice(0, SHOWN);
  const done = rows.filter((row) => row.status === "done").length;
  at("costs-note").textContent = done > shown.length ? `The first ${SHOWN} rows of the table, in its order.` : "";
  legend("speedup-legend", [...new Set(shown.map((r) => r.bottleneck))].map((name) => [`limited by ${name}`, colour("component", name)]));
  const bars = shown.map((r) => ({ ...r, color: colour("component", r.bottleneck) }));
  const kind = state.part === "component" ? "component" : "tensor";
  const parts = shown.flatMap((row) => {
    let start = 0;
    return Object.entries(row.by[state.part]).map(([part, joules]) => {
      const share = percent(joules / row.energy);
      const piece = { i: row.i, name: row.name, part, start, end: start + joules, color: colour(kind, part), value_t: si(joules, "J"), share_t: share, say: `${row.name}, ${part}: ${si(joules, "J")}, ${share} of its energy` };
      start += joules;
      return piece;
    });
  });
  legend("energy-legend", parts.map((p) => [p.part, p.color]));
  const totals = shown.map((r) => ({ name: r.name, energy: r.energy, energy_t: r.energy_t }));
  return [draw("speedup", "speedup", { shown: bars }), draw("energy", "energy", { parts, shown: totals })];
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

function drawRoofline(rows) {
  const marks = roofMarks(rows);
  const everything = DATA.rows.filter((row) => row.status === "done");
  if (!everything.length) return [];
  const roofs = new Map(everything.slice(0, 400).map((row) => [JSON.stringify(row.roofs), row.roofs]));
  const peaks = [...roofs.values()].map((r) => Math.max(...Object.values(r.units)));
  const xs = marks.map((m) => m.intensity).filter(Boolean);
  const knees = [...roofs.values()].filter((r) => r.bytes).map((r) => Math.max(...Object.values(r.units)) / r.bytes);
  const x = [Math.min(...xs, ...knees) / 3, Math.max(...xs, ...knees) * 4];
  const y = [Math.min(...marks.map((m) => m.rate), ...peaks) / 3, Math.max(...peaks) * 2.2];
  for (const m of marks) if (m.intensity === null) m.intensity = x[1] / 1.25;
  const lines = [];
  const names = [];
  const listed = [...roofs.values()].slice(0, 4);
  listed.forEach((roof, k) => {
    const most = Math.max(...Object.values(roof.units));
    const knee = roof.bytes ? most / roof.bytes : x[0];
    for (const [unit, peak] of Object.entries(roof.units)) {
      const from = roof.bytes ? Math.max(x[0], peak / roof.bytes) : x[0];
      const line = { roof: `${unit} ${k}`, color: faint(), dash: peak === most ? [1, 0] : [4, 3] };
      lines.push({ ...line, intensity: from, rate: peak, order: 0 }, { ...line, intensity: x[1], rate: peak, order: 1 });
      if (k === 0 || listed.every((r) => r.units[unit] !== peak || r === roof)) names.push({ intensity: x[1], rate: peak, roof: `${unit} ${si(peak, "/s")}`, color: faint() });
    }
    if (!roof.bytes) return;
    const line = { roof: `${roof.offchip} ${k}`, color: faint(), dash: [1, 0] };
    const start = Math.max(x[0], y[0] / roof.bytes);
    lines.push({ ...line, intensity: start, rate: start * roof.bytes, order: 0 }, { ...line, intensity: knee, rate: most, order: 1 });
    names.push({ intensity: knee, rate: most, roof: `${roof.offchip} ${si(roof.bytes, "B/s")}`, color: faint() });
  });
  legend("roofline-legend", rows.filter((r) => r.status === "done").map((row) => [tells(row), hueOf(row)]).slice(0, 400));
  return [draw("roofline-chart", "roofline", { points: marks, roofs: lines, roof_names: names }, { "@xdomain": x, "@ydomain": y })];
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
  area: { title: "area (mm²)", unit: "datum.label", shown: (v) => `${digits(v, 3)} mm²` },
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
  at("pareto-note").textContent = `${whole(front.length)} of ${whole(points.length)} configurations are on the front: nothing has both less ${COSTS[across].title.replace(" (mm²)", "")} and less ${COSTS[up].title.replace(" (mm²)", "")}.`;
  legend("pareto-legend", done.map((row) => [tells(row), hueOf(row)]));
  const wide = [points.map((p) => p.x), points.map((p) => p.y)].some((vs) => Math.max(...vs) > 15 * Math.min(...vs));
  const line = front.map((p) => ({ x: p.x, y: p.y, ink: faint() }));
  const tokens = { "@xtitle": COSTS[across].title, "@ytitle": COSTS[up].title, "@xlabel": COSTS[across].unit, "@ylabel": COSTS[up].unit };
  return [draw("pareto-chart", wide ? "pareto_log" : "pareto", { costs: points, front: line }, tokens)];
}
