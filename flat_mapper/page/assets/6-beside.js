// Two results beside each other: what differs in their inputs, costs, energy and loops.

const RATIOS = [
  ["latency", "latency", (v) => si(v, "s")],
  ["energy", "energy", (v) => si(v, "J")],
  ["EDP", "edp", (v) => si(v, "J·s")],
  ["utilization", "util", (v) => percent(v)],
  ["off-chip", "offchip", (v) => bytes(v)],
  ["buffer in use", "live", (v) => bytes(v)],
  ["area", "area", (v) => (v === null ? "–" : `${digits(v, 3)} mm²`)],
];

const ratio = (a, b) => (typeof a === "number" && typeof b === "number" && a ? times(b / a) : "");

// Lines of [what, of the first, of the second, their ratio], only where the two differ.
function differences(first, second) {
  const [a, b] = [DATA.rows[first], DATA.rows[second]];
  const lines = [];
  const add = (what, one, other, how = "") => {
    if (one !== other) lines.push([what, one, other, how]);
  };
  for (const path of DATA.varying) add(short(path), inputText(a.inputs[path]), inputText(b.inputs[path]));
  for (const [what, key, shown] of RATIOS) add(what, shown(a[key]), shown(b[key]), ratio(a[key], b[key]));
  for (const unit of Object.keys({ ...a.busy, ...b.busy }))
    add(`busy: ${unit}`, percent(a.busy[unit]), percent(b.busy[unit]), ratio(a.busy[unit], b.busy[unit]));
  add("average power", a.power_t, b.power_t, ratio(a.power, b.power));
  for (const part of Object.keys({ ...a.power_by, ...b.power_by })) {
    const [one, other] = [a.power_by[part], b.power_by[part]];
    add(`average power of ${part}`, si(one, "W"), si(other, "W"), ratio(one, other));
  }
  add("limited by", a.bottleneck, b.bottleneck);
  for (const part of known.component) {
    const [one, other] = [a.by.component[part] ?? 0, b.by.component[part] ?? 0];
    add(`energy of ${part}`, si(one, "J"), si(other, "J"), ratio(one, other));
  }
  return [...lines, ...loopDifferences(DATA.details[first], DATA.details[second])];
}

const listed = (texts) => texts.join(" ") || "–";

function loopDifferences(a, b) {
  const lines = [];
  const add = (what, one, other) => one !== other && lines.push([what, one, other, ""]);
  const grouped = (found) => found.groups.map((g) => g.einsums.join(" + ")).join("; ");
  const shared = (found) => found.groups.map((g) => listed(g.shared)).join("; ");
  const staged = (found) => found.groups.map((g) => listed(g.staged)).join("; ");
  add("groups", grouped(a), grouped(b));
  add("shared loops", shared(a), shared(b));
  add("staged", staged(a), staged(b));
  for (const name of new Set([...Object.keys(a.einsums), ...Object.keys(b.einsums)])) {
    const [one, other] = [a.einsums[name]?.loops ?? {}, b.einsums[name]?.loops ?? {}];
    const told = (slot) => slot === a.offchip && shared(a) !== "–" && shared(b) !== "–"; // by the shared loops
    for (const slot of new Set([...Object.keys(one), ...Object.keys(other)]))
      if (!told(slot)) add(`${name} at ${slot}`, listed(one[slot] ?? []), listed(other[slot] ?? []));
  }
  return lines;
}

function drawDifference() {
  const place = at("difference");
  place.hidden = !(state.beside in DATA.details) || state.beside === state.picked;
  if (place.hidden) return;
  const [a, b] = [DATA.rows[state.picked], DATA.rows[state.beside]];
  const lines = differences(state.picked, state.beside);
  const head = ["", a.name, b.name, "second / first"].map((text) =>
    node("th", { scope: "col", class: "text" }, text),
  );
  const row = ([what, ...cells]) =>
    node(
      "tr",
      {},
      node("th", { scope: "row", class: "text" }, what),
      ...cells.map((text) => node("td", { class: "text" }, String(text))),
    );
  at("difference-table").replaceChildren(
    node("table", {}, node("thead", {}, node("tr", {}, ...head)), node("tbody", {}, ...lines.map(row))),
  );
  if (!lines.length) at("difference-table").replaceChildren(node("p", { class: "note" }, "Nothing differs."));
}
