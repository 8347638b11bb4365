// The charts over all configurations.

const ROOFS = 4; // chips whose roofs are drawn at once

// Names by what differs among the rows shown; a row's number before | sets equal names apart.
function barNames(rows) {
  const paths = DATA.varying.filter((path) => new Set(rows.map((row) => row.inputs[path])).size > 1);
  const told = (row, path) =>
    numeric(path) ? `${short(path)}=${inputText(row.inputs[path])}` : inputText(row.inputs[path]);
  const name = (row) => paths.map((path) => told(row, path)).join(" · ") || row.name;
  return rows.map((row) => `${row.i}|${shortened(DATA.rows.length > SHOWN ? name(row) : row.name)}`);
}

// A long name without its middle: what sets names apart stands at their ends.
const shortened = (name, most = 44) =>
  name.length <= most ? name : `${name.slice(0, most / 2 - 1)}…${name.slice(1 - most / 2)}`;

function drawCosts(rows) {
  const shown = rows.filter((row) => row.status === "done").slice(0, SHOWN);
  const done = rows.filter((row) => row.status === "done").length;
  at("costs-note").textContent =
    done > shown.length ? `The first ${SHOWN} rows of the table, in its order.` : "";
  legend(
    "speedup-legend",
    [...new Set(shown.map((r) => r.bottleneck))].map((name) => [
      `limited by ${name}`,
      colour("component", name),
    ]),
  );
  const names = barNames(shown);
  const bars = shown.map((r, k) => ({ ...r, bar: names[k], color: colour("component", r.bottleneck) }));
  const kind = state.part === "component" ? "component" : "tensor";
  const parts = shown.flatMap((row, k) => {
    let start = 0;
    const listed = Object.entries(row.by[state.part]).sort(
      (a, b) => known[kind].indexOf(a[0]) - known[kind].indexOf(b[0]),
    );
    return listed.map(([part, joules]) => {
      const share = percent(joules / row.energy);
      const piece = {
        i: row.i,
        bar: names[k],
        name: row.name,
        part,
        start,
        end: start + joules,
        color: colour(kind, part),
        value_t: si(joules, "J"),
        share_t: share,
        say: `${row.name}, ${part}: ${si(joules, "J")}, ${share} of its energy`,
      };
      start += joules;
      return piece;
    });
  });
  const listed = known[kind].filter((name) => parts.some((p) => p.part === name));
  legend(
    "energy-legend",
    listed.map((name) => [name, colour(kind, name)]),
  );
  const totals = shown.map((r, k) => ({ bar: names[k], energy: r.energy, energy_t: r.energy_t }));
  return [
    draw("speedup", "speedup", { shown: bars }, {}, shown.length || 1),
    draw("energy", "energy", { parts, shown: totals }, {}, shown.length || 1),
  ];
}

// Marks of whole configurations, and of the Einsums of those that have details.
function roofMarks(rows) {
  const done = rows.filter((row) => row.status === "done" && row.intensity);
  const marks = done.map((row) =>
    mark(
      row,
      row.name,
      "whole configuration",
      row.rate,
      row.intensity,
      Object.values(row.roofs.units)[0],
      "circle",
      row.i === state.picked ? 190 : 110,
      done.length <= 8 ? row.name : "",
    ),
  );
  for (const row of done.slice(0, SHOWN)) {
    const detail = DATA.details[row.i];
    if (!detail) continue;
    for (const [name, einsum] of Object.entries(detail.einsums)) {
      const vector = detail.units[einsum.unit] === "vector";
      const what =
        einsum.intensity === null ? `Einsum on ${einsum.unit}, nothing off chip` : `Einsum on ${einsum.unit}`;
      marks.push(
        mark(
          row,
          `${name} of ${row.name}`,
          what,
          einsum.rate,
          einsum.intensity,
          row.roofs.units[einsum.unit],
          vector ? "triangle-up" : "diamond",
          row.i === state.picked ? 62 : 40,
          row.i === state.picked ? name : "",
        ),
      );
    }
  }
  return marks;
}

function mark(row, name, what, rate, intensity, peak, shape, size, label) {
  const told = intensity === null ? "no off-chip words" : si(intensity, "", 4);
  return {
    i: row.i,
    name,
    what,
    rate,
    intensity,
    shape,
    size,
    label,
    color: hueOf(row),
    rate_t: si(rate, "/s"),
    intensity_t: told,
    share_t: percent(rate / peak),
    say: `${name}: ${si(rate, " computes per second")}, ${told} computes per off-chip byte`,
  };
}

// The lines of the first few different chips among the rows.
function roofLines(roofs, x, y) {
  const lines = [];
  const names = [];
  const seen = new Map(); // a roof that several chips share is drawn once, from its leftmost end
  roofs.forEach((roof, k) => {
    const most = Math.max(...Object.values(roof.units));
    const knee = roof.bytes ? most / roof.bytes : x[0];
    const line = (name, solid, ...ends) =>
      ends.forEach(([intensity, rate], order) =>
        lines.push({
          roof: `${name} ${k}`,
          color: faint(),
          dash: solid ? [1, 0] : [4, 3],
          intensity,
          rate,
          order,
        }),
      );
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
  const xs = everything
    .map((row) => row.intensity)
    .concat(marks.map((m) => m.intensity))
    .filter(Boolean);
  const knees = roofs.filter((r) => r.bytes).map((r) => Math.max(...Object.values(r.units)) / r.bytes);
  const x = [Math.min(...xs, ...knees) / 2.5, Math.max(...xs, ...knees) * 4];
  const y = [
    Math.min(...everything.map((row) => row.rate), ...marks.map((m) => m.rate), ...peaks) / 2.5,
    Math.max(...peaks) * 2,
  ];
  for (const m of marks) if (m.intensity === null) m.intensity = x[1] / 1.25;
  const chips = [...new Set(rows.filter((row) => row.status === "done").map((row) => row.roofs))];
  const [lines, names] = roofLines(chips.slice(0, ROOFS), x, y);
  const [width, height] = [Math.max(200, at("roofline-chart").clientWidth - 70), 330];
  const px = (v) => (width * Math.log(v / x[0])) / Math.log(x[1] / x[0]);
  const py = (v) => height - (height * Math.log(v / y[0])) / Math.log(y[1] / y[0]);
  const labels = [
    ...marks.map((m) => ({
      text: m.label,
      px: px(m.intensity),
      py: py(m.rate),
      radius: Math.sqrt(m.size) / 2,
      color: m.color,
    })),
    ...names.map((n) => ({
      text: n.text,
      px: px(n.intensity),
      py: py(n.rate),
      color: faint(),
      spots: [
        [-6, -9],
        [-6, 10],
        [-40, -14],
        [-80, -34],
        [-6, -24],
      ].map(([dx, dy]) => [dx - n.text.length * 3.2, dy]),
    })),
  ];
  const back = ({ text, x: left, y: top, color }) => ({
    text,
    color,
    intensity: x[0] * (x[1] / x[0]) ** (left / width),
    rate: y[0] * (y[1] / y[0]) ** ((height - top) / height),
  });
  const along = (a, b) =>
    Array.from({ length: 160 }, (_, k) => [
      px(a.intensity) + ((px(b.intensity) - px(a.intensity)) * k) / 159,
      py(a.rate) + ((py(b.rate) - py(a.rate)) * k) / 159,
    ]);
  const drawn = lines
    .filter((line) => line.order)
    .flatMap((line) => along(lines[lines.indexOf(line) - 1], line));
  const texts = placed(labels, width, height, drawn).map(back);
  legend(
    "roofline-legend",
    rows.filter((r) => r.status === "done").map((row) => [tells(row), hueOf(row)]),
  );
  if (chips.length > ROOFS)
    at("roofline-legend").append(
      node("span", {}, `roofs of the first ${ROOFS} of ${whole(chips.length)} chips in the table`),
    );
  const tokens = { "@xdomain": x, "@ydomain": y, "@xticks": logTicks(x), "@yticks": logTicks(y) };
  return [draw("roofline-chart", "roofline", { points: marks, roofs: lines, texts }, tokens)];
}

function drawCurves(rows) {
  if (!at("curves-chart")) return [];
  const done = rows.filter((row) => row.status === "done" && row.capacity);
  const curves = done.map((row) => ({
    ...row,
    series: DATA.varying
      .filter((p) => !DATA.buffer_inputs.includes(p))
      .map((p) => row.inputs[p])
      .join(" "),
    color: hueOf(row),
  }));
  curves.sort((a, b) => a.capacity - b.capacity);
  legend(
    "curves-legend",
    done.map((row) => [tells(row), hueOf(row)]),
  );
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
  return [...points]
    .sort((a, b) => a.x - b.x || a.y - b.y)
    .filter((p) => {
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
  const fronts = DATA.questions.map((asked) => frontOf(points.filter((p) => p.question === asked)));
  const front = fronts.flat();
  const first = new Set(front.map((p) => p.i));
  for (const p of points)
    Object.assign(p, {
      opacity: first.has(p.i) ? 1 : 0.4,
      size: p.i === state.picked ? 190 : first.has(p.i) ? 90 : 38,
    });
  const plain = (key) => COSTS[key].title.replace(" (mm²)", "");
  at("pareto-note").textContent =
    `On ${DATA.questions.length > 1 ? "the front of its workload and sizes" : "the front"}: ${whole(front.length)} of ${whole(points.length)} configurations. No other${DATA.questions.length > 1 ? " with the same workload and sizes" : ""} has both less ${plain(across)} and less ${plain(up)}.`;
  legend(
    "pareto-legend",
    done.map((row) => [tells(row), hueOf(row)]),
  );
  const wide = [points.map((p) => p.x), points.map((p) => p.y)].some(
    (vs) => Math.max(...vs) > 15 * Math.min(...vs),
  );
  const line = front.map((p) => ({ x: p.x, y: p.y, question: p.question, ink: faint() }));
  const ticks = (key, values) => {
    const ends = [Math.min(...values) / 1.1, Math.max(...values) * 1.1];
    return COSTS[key].unit.startsWith("bytes") ? binaryTicks(ends) : logTicks(ends);
  };
  const tokens = {
    "@xticks": ticks(
      across,
      points.map((p) => p.x),
    ),
    "@yticks": ticks(
      up,
      points.map((p) => p.y),
    ),
    "@xtitle": COSTS[across].title,
    "@ytitle": COSTS[up].title,
    "@xlabel": COSTS[across].unit,
    "@ylabel": COSTS[up].unit,
  };
  if (!points.length) return [draw("pareto-chart", "pareto", { costs: [] })];
  const [width, height] = [Math.max(200, at("pareto-chart").clientWidth - 70), 320];
  const x = axisOf(
    points.map((p) => p.x),
    wide,
    width,
  );
  const y = axisOf(
    points.map((p) => p.y),
    wide,
    height,
  );
  const labels = points.map((p) => ({
    text: points.length <= 12 ? p.name : "",
    px: x.to(p.x),
    py: height - y.to(p.y),
    radius: Math.sqrt(p.size) / 2,
    color: p.color,
  }));
  const texts = placed(labels, width, height).map((t) => ({ ...t, x: x.back(t.x), y: y.back(height - t.y) }));
  return [
    draw(
      "pareto-chart",
      wide ? "pareto_log" : "pareto",
      { costs: points, front: line, texts },
      { ...tokens, "@xdomain": x.domain, "@ydomain": y.domain },
    ),
  ];
}
