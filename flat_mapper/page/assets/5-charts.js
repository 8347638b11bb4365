// The charts over all configurations.

const ROOFS = 4; // chips whose roofs are drawn at once
const ROW_KEYS = [
  ...["latency_s", "energy_pj", "utilization", "busy_share", "total_power_w", "buffer_bytes"],
  ...["offchip_bytes", "bottleneck"],
];

// Names by what differs among the rows shown.
function barNames(rows) {
  if (DATA.rows.length <= SHOWN) return rows.map((row) => row.name);
  const paths = DATA.varying.filter((path) => new Set(rows.map((row) => row.inputs[path])).size > 1);
  const said = (row, path) => (numbers.has(path) ? `${short(path)}=${cell(row, path)}` : cell(row, path));
  return rows.map((row) => paths.map((path) => said(row, path)).join(" · ") || row.name);
}

const hues = (rows) => rows.map((row) => ({ name: cell(row, state.hue), color: hueOf(row) }));

function drawCosts(rows) {
  const every = rows.filter(isDone);
  const shown = every.slice(0, SHOWN);
  at("costs-note").textContent = every.length > SHOWN ? `The first ${SHOWN} rows of the table, in its order.` : "";
  const bands = { bands: barNames(shown), ids: shown.map(({ i }) => i + 1), step: 27 };
  const axis = (key) => ({
    ...{ domain: [0, Math.max(...shown.map((row) => row[key] ?? 0))], key },
    room: Math.max(...shown.map((row) => widthOf(cell(row, key)))) - 4,
  });
  const beside = (key) =>
    shown.map((row, y) => ({ x: row[key], y, text: cell(row, key), anchor: "start", dx: 5, color: "var(--ink)" }));
  const bars = shown.map((row, y) => ({
    ...row,
    ...{ x: 0, x2: row.speedup, y, thick: 16, color: colour("component", row.bottleneck) },
  }));
  const limits = bars.map(({ bottleneck, color }) => ({ name: `limited by ${bottleneck}`, color }));
  legend("speedup-legend", limits);
  chart("speedup", "Speed-up of each configuration", {
    x: { ...axis("speedup"), key: "", title: "times the speed" },
    y: bands,
    keys: ["latency_s", "speedup", "bottleneck"],
    bar: bars,
    over: [["text", beside("speedup")]],
  });
  const kind = state.part === "component" ? "component" : "tensor";
  const parts = shown.flatMap((row, y) => {
    const by = row.energy_by_pj[state.part];
    let end = 0;
    return known(kind)
      .filter((part) => part in by)
      .map((part) => ({
        ...{ i: row.i, name: row.name, part, energy_pj: by[part], share: by[part] / row.energy_pj },
        ...{ x: end, x2: (end += by[part]), y, thick: 16, color: colour(kind, part) },
      }));
  });
  const inUse = known(kind).filter((name) => parts.some(({ part }) => part === name));
  const named = inUse.map((name) => ({ name, color: colour(kind, name) }));
  legend("energy-legend", named);
  chart("energy", "Energy of each configuration by part", {
    x: axis("energy_pj"),
    y: bands,
    keys: ["part", "energy_pj", "share"],
    bar: parts,
    over: [["text", beside("energy_pj")]],
  });
}

// A point under the roofs; an intensity of null stands for no word off chip.
function roofPoint(row, name, what, [computes, seconds, moved], peak, radius, text, shape) {
  const rate = computes / seconds;
  return {
    ...{ i: row.i, name, what, computes_per_s: rate, peak_share: rate / peak },
    ...{ computes_per_offchip_byte: moved ? computes / moved : null, color: hueOf(row), opacity: 0.9 },
    ...{ radius, text, shape },
  };
}

// Marks of whole configurations, and of the Einsums of those that have details.
function roofPoints(rows) {
  const moving = rows.filter((row) => row.offchip_bytes);
  return moving.flatMap((row, k) => {
    const { units } = DATA.roofs[row.roof];
    const large = row.i === state.picked;
    const counts = [row.macs, row.latency_s, row.offchip_bytes];
    const peak = Object.values(units)[0];
    const text = moving.length <= 8 ? row.name : "";
    const own = roofPoint(row, row.name, "whole configuration", counts, peak, large ? 7.8 : 5.9, text);
    const found = k < SHOWN && DATA.details[row.i];
    if (!found) return [own];
    const { platform, einsums } = found;
    const inside = Object.entries(einsums).map(([name, { unit, computes, cycles, offchip_words: words }]) => {
      const moved = bytesOf(found, sum(Object.values(words)), platform.offchip);
      const what = `Einsum on ${unit}${moved ? "" : ", nothing off chip"}`;
      const each = [computes, cycles * platform.cycle_seconds, moved];
      const shape = platform.units[unit].path === "vector" ? "triangle" : "diamond";
      return roofPoint(row, `${name} of ${row.name}`, what, each, units[unit], large ? 4.5 : 3.6, large && name, shape);
    });
    return [own, ...inside];
  });
}

// The lines of some chips, and what is said of each. A line that several share is drawn once, from
// its leftmost end.
function roofLines(roofs, [x0, x1], [y0]) {
  const found = new Map();
  const add = (text, line) => found.set(text, { text, color: "var(--muted)", ...line });
  for (const { offchip, bytes_per_s: drains, units } of roofs) {
    const most = Math.max(...Object.values(units));
    for (const [unit, peak] of Object.entries(units)) {
      const text = `${unit} ${si(peak, "/s")}`;
      const start = drains ? Math.max(x0, peak / drains) : x0;
      const x = Math.min(start, found.get(text)?.x ?? start);
      add(text, { x, y: peak, x2: x1, y2: peak, dashed: peak !== most });
    }
    const start = Math.max(x0, y0 / drains);
    if (drains) add(`${offchip} ${si(drains, "B/s")}`, { x: start, y: start * drains, x2: most / drains, y2: most });
  }
  return [...found.values()];
}

function drawRoofline(rows) {
  if (!done.length) return;
  const shown = rows.filter(isDone);
  const points = roofPoints(shown);
  const peaks = DATA.roofs.map(({ units }) => Math.max(...Object.values(units)));
  const knees = DATA.roofs.flatMap((roof, k) => (roof.bytes_per_s ? peaks[k] / roof.bytes_per_s : []));
  const xs = [...done.map((row) => row.macs_per_offchip_byte), ...points.map((p) => p.computes_per_offchip_byte)];
  const ys = [...done.map((row) => row.macs / row.latency_s), ...points.map((p) => p.computes_per_s), ...peaks];
  const ends = [...xs.filter(Boolean), ...knees];
  const x = { domain: [Math.min(...ends) / 2.5, Math.max(...ends) * 4], log: true };
  const y = { domain: [Math.min(...ys) / 2.5, Math.max(...peaks) * 2], log: true, height: 330 };
  for (const p of points)
    Object.assign(p, { x: p.computes_per_offchip_byte ?? x.domain[1] / 1.25, y: p.computes_per_s });
  const chips = [...new Set(shown.map((row) => row.roof))];
  const own = chips.slice(0, ROOFS).map((k) => DATA.roofs[k]);
  const roofs = roofLines(own, x.domain, y.domain);
  legend("roofline-legend", hues(shown));
  const left = `roofs of the first ${ROOFS} of ${whole(chips.length)} chips in the table`;
  if (chips.length > ROOFS) at("roofline-legend").append(node("span", {}, left));
  chart("roofline-chart", "Roofline", {
    x: { ...x, title: "computes per off-chip byte" },
    y: { ...y, key: "computes_per_s", title: "computes per second" },
    keys: ["what", "computes_per_s", "computes_per_offchip_byte", "peak_share"],
    under: [["line", roofs]],
    point: points,
    labels: [...points, ...roofs.map((roof) => ({ ...roof, x: roof.x2, y: roof.y2, leftwards: true }))],
    avoid: roofs,
  });
}

// The lines from each point to the next.
const joined = (points, color) =>
  points.slice(1).map(({ x: x2, y: y2 }, k) => ({ x: points[k].x, y: points[k].y, x2, y2, color }));

const groupedBy = (items, key) => Object.values(Object.groupBy(items, key));

function drawCurves(rows) {
  if (!at("curves-chart")) return;
  const rest = DATA.varying.filter((path) => !DATA.buffer_inputs.includes(path));
  const points = rows
    .filter((row) => row.buffer_capacity_bytes)
    .map((row) => ({ ...row, x: row.buffer_capacity_bytes, y: row.utilization, radius: 3.6, color: hueOf(row) }))
    .sort((a, b) => a.x - b.x);
  const sizes = points.map(({ x }) => x);
  const series = groupedBy(points, (row) => rest.map((path) => row.inputs[path]).join(" "));
  legend("curves-legend", hues(points));
  chart("curves-chart", "Utilization over buffer size", {
    x: { domain: around(sizes, true), log: true, key: "buffer_capacity_bytes" },
    y: { domain: [0, 1], key: "utilization", height: 270 },
    keys: ["buffer_capacity_bytes", ...ROW_KEYS],
    under: [["line", series.flatMap((line) => joined(line, line[0].color))]],
    point: points,
  });
}

// Of points with two costs, those that no other beats in both.
function frontOf(points) {
  let best = Infinity;
  const ordered = [...points].sort((a, b) => a.x - b.x || a.y - b.y);
  return ordered.filter(({ y }) => y < best && ((best = y), true));
}

// A point of a front after the corner of the step that leads to it.
const stepTo = (point, k, line) => (k ? [{ x: point.x, y: line[k - 1].y }, point] : [point]);

function drawPareto(rows) {
  if (!at("pareto-chart")) return;
  const { across, up } = state;
  const points = rows
    .filter((row) => row[across] && row[up])
    .map((row) => ({ ...row, x: row[across], y: row[up], color: hueOf(row) }));
  const fronts = groupedBy(points, (point) => point.question).map(frontOf);
  const front = new Set(fronts.flat());
  for (const point of points) {
    point.opacity = front.has(point) ? 1 : 0.4;
    point.radius = point.i === state.picked ? 7.8 : front.has(point) ? 5.3 : 3.5;
    point.text = points.length <= 12 ? point.name : "";
  }
  const several = DATA.questions.length > 1;
  at("pareto-note").textContent =
    `On the front${several ? " of its workload and sizes" : ""}: ${whole(front.size)} of ${whole(points.length)} ` +
    `configurations. No other${several ? " with the same workload and sizes" : ""} has both less ${title(across)} ` +
    `and less ${title(up)}.`;
  legend("pareto-legend", hues(points));
  const values = { [across]: points.map(({ x }) => x), [up]: points.map(({ y }) => y) };
  const log = Object.values(values).some((each) => Math.max(...each) > 15 * Math.min(...each));
  const axis = (key) => ({ domain: around(values[key], log), log, key });
  chart("pareto-chart", "Pareto front", {
    x: axis(across),
    y: { ...axis(up), height: 320 },
    keys: [...new Set([across, up, ...ROW_KEYS])],
    under: [["line", fronts.flatMap((line) => joined(line.flatMap(stepTo), "var(--muted)"))]],
    point: points,
    labels: points,
  });
}
