// One mapping: its loop tree, its timeline, what its buffer holds, and what differs from another.

const detail = () => DATA.details[state.picked];
const sum = (counts) => counts.reduce((total, count) => total + count, 0);
const bytesOf = (found, words, level) => (words * found.platform.levels[level].word_bits) / 8;

function drawTree() {
  const other = DATA.details[state.beside];
  const tree = (index) => {
    const made = node("div", {}, other && node("p", { class: "note" }, DATA.rows[index].name));
    made.insertAdjacentHTML("beforeend", DATA.details[index].tree); // escaped where it was made
    return made;
  };
  at("tree").className = other ? "pair even" : "";
  at("tree").replaceChildren(...(other ? [state.picked, state.beside] : [state.picked]).map(tree));
  offerFiles("tree");
}

// The stretches of time that may be shown: two tiles of a group that has several, and the whole run.
function windows({ groups }) {
  const several = groups.length > 1;
  const tiles = groups.flatMap((group, k) =>
    group.tiles > 1 ? [[String(k), several ? `group ${k + 1}: two tiles` : "two FLAT-tiles"]] : [],
  );
  return several || !tiles.length ? [...tiles, ["run", "the whole run"]] : tiles;
}

function drawMapping() {
  const found = detail();
  if (!found) return;
  const options = windows(found);
  const fused = String(found.groups.findIndex((group) => group.shared.length));
  if (!options.some(([key]) => key === state.window))
    state.window = options.find(([key]) => key === fused)?.[0] ?? options.at(-1)[0];
  at("window").replaceChildren(...options.map(([key, text]) => option(key, text, key === state.window)));
  const row = DATA.rows[state.picked];
  const [time, energy, share, busy, power] = ROW_KEYS.map((key) => cell(row, key));
  const watts = Object.entries(row.power_w).filter(([, each]) => each > 0);
  const parts = watts.sort((a, b) => b[1] - a[1]).map(([part, each]) => `${part} ${si(each, "W")}`);
  at("mapping-note").textContent = [
    `${row.name}: ${time}, ${energy}, ${share} utilization (busy: ${busy}), limited by ${row.bottleneck}.`,
    `Average power ${power}${parts.length ? ": " : ""}${parts.join(", ")}.`,
    found.repeat > 1 ? `One of ${whole(found.repeat)} runs of the cascade is shown.` : "",
    ...found.notes,
  ].join(" ");
  drawTree();
  drawDifference();
  const group = found.groups[state.window];
  at("mapping").dataset.shown = group ? "tile" : "run"; // which notes are told
  drawTimeline(found, group);
  drawOccupancy(found, group);
}

// Bars in the order of the cascade.
const inOrder = (bars) => {
  const place = ({ name }) => known("tensor").indexOf(name);
  return [...bars].sort((a, b) => place(a) - place(b));
};

// How stretches look that are no work on a tensor.
const LOOKS = {
  "cold start": { color: "var(--bar)" },
  wait: { color: "var(--muted)", opacity: 0.18, letters: "var(--muted)" },
};

// The work of units and DRAM over two tiles of a group, or over the whole run where there is none.
function drawTimeline(found, group) {
  const { units, levels, offchip, cycle_seconds: cycle } = found.platform;
  const laneOf = (lane) => {
    if (lane in units) return `${units[lane].path === "vector" ? "SFU" : "PE array"} (${lane})`;
    return lane in levels && lane !== offchip ? `${lane} ports` : lane;
  };
  const total = (group ? group.cold_start_cycles + 2 * group.tile_cycles : found.cycles) * cycle;
  const spans = (group ?? found).busy;
  const bands = [...new Set(spans.map(([lane]) => laneOf(lane)))];
  const bars = spans.map(([lane, name, kind, tile, from, to]) => ({
    ...{ i: state.picked, name: kind === "wait" ? `waits for ${name}` : name, kind, lane: laneOf(lane) },
    what: group && tile ? `${kind}, tile ${tile}` : kind,
    ...{ start_s: from * cycle, takes_s: (to - from) * cycle },
    ...{ x: from * cycle, x2: to * cycle, y: bands.indexOf(laneOf(lane)), thick: kind === "wait" ? 14 : 32 },
    ...(LOOKS[kind] ?? { color: colour(kind === "ports" ? "component" : "tensor", name) }),
  }));
  const room = (at("timeline").clientWidth - 120) / total;
  const inside = bars
    .filter(({ x, x2, name }) => (x2 - x) * room > widthOf(name) + 6)
    .map(({ x, x2, y, name, letters = "#000" }) => ({ x: (x + x2) / 2, y, text: name, color: letters, size: 11 }));
  let begun = 0;
  const few = found.groups.length <= 6;
  const starts = group
    ? [1, 2].slice(0, group.tiles).map((n) => [group.cold_start_cycles + (n - 1) * group.tile_cycles, `tile ${n}`])
    : found.groups.map(({ cycles }, k) => [(begun += cycles) - cycles, few ? `group ${k + 1}` : ""]);
  const until = (k) => (starts[k + 1]?.[0] ?? total / cycle) * cycle;
  const rules = starts.map(([cycles, text], k) => ({
    ...{ x: cycles * cycle, x2: cycles * cycle, y: -0.5, y2: bands.length - 0.5, dashed: true },
    text: (until(k) - cycles * cycle) * room > widthOf(text) + 6 ? text : "",
    ...{ anchor: "start", dx: 4, dy: -7, color: "var(--muted)" },
  }));
  legend("timeline-legend", inOrder(bars.filter(({ kind }) => kind !== "wait" && kind !== "ports")));
  at("tiles").textContent = whole(group?.tiles ?? 0);
  const use = (group ?? found.groups.find((one) => one.on_cores))?.on_cores;
  at("cores-note").hidden = !use;
  at("cores").textContent = whole(use?.cores ?? 0);
  const keys = ["lane", "what", "start_s", "takes_s"];
  const listed = bars.map((bar) => [bar.name, ...keys.map((key) => cell(bar, key))]);
  at("timeline-table").replaceChildren(table(["", ...keys.map(title)], listed));
  chart("timeline", "Timeline of the units and DRAM", {
    x: { domain: [0, Math.max(total, ...bars.map(({ x2 }) => x2))], key: "start_s", title: "time" },
    y: { bands, step: 52, top: 20 },
    keys,
    bar: bars,
    over: [["text", inside], ["line", rules], ["text", rules]],
  });
}

// The contents of the shared buffer over a tile, or over the run, where the group that holds most counts.
function drawOccupancy(found, tile) {
  const cycle = found.platform.cycle_seconds;
  const group = tile ?? found.groups.reduce((a, b) => (b.live_words > a.live_words ? b : a));
  const { level, capacity_words: capacity } = group.buffer;
  const [live, all] = [group.live_words, capacity ?? 0].map((words) => bytesOf(found, words, level));
  const total = (tile ? tile.tile_cycles : found.cycles) * cycle;
  const use = (transit) => (transit ? "the copy on its way to or from DRAM" : "in use");
  const bars = (tile ?? found).alive.map(([name, transit, from, to, below, words]) => ({
    ...{ i: state.picked, name, what: tile ? use(transit) : "reserved during its group" },
    ...{ takes_bytes: bytesOf(found, words, level), start_s: from * cycle, end_s: to * cycle },
    ...{ x: from * cycle, x2: to * cycle, y: bytesOf(found, below, level), y2: bytesOf(found, below + words, level) },
    ...{ color: colour("tensor", name), opacity: transit ? 0.5 : 0.95 },
  }));
  const line = (y, what, color, dashed) => ({ x: 0, x2: total, y, y2: y, text: `${what} ${bytes(y)}`, color, dashed });
  const rules = [line(live, "charged", "var(--muted)", true)];
  if (all && all <= 4 * live) rules.push(line(all, "capacity", "var(--ink)"));
  legend("occupancy-legend", inOrder(bars));
  at("occupancy-title").textContent = `${level} over ${tile ? "one FLAT-tile" : "the run"}`;
  for (const place of document.querySelectorAll(".charged"))
    place.textContent = bytes(live) + (all ? ` of ${bytes(all)}` : "");
  chart("occupancy", "Buffer occupancy", {
    x: { domain: [0, total], key: "start_s", title: tile ? "time in the tile" : "time" },
    y: { domain: [0, 1.12 * rules.at(-1).y], key: "takes_bytes", height: 250, title: level },
    keys: ["what", "takes_bytes", "start_s", "end_s"],
    bar: bars,
    over: [
      ["line", rules],
      ["text", rules.map((rule) => ({ ...rule, x: total, anchor: "end", dx: -4, dy: -8 }))],
    ],
  });
}

// Two results beside each other: what, of the first, of the second, and their ratio, where they differ.
function differences(a, b) {
  const [one, two] = [flat(a), flat(b)];
  const ratio = (key) => (typeof one[key] === "number" && one[key] && two[key] ? times(two[key] / one[key]) : "");
  const costs = Object.keys({ ...one, ...two })
    .filter((key) => key !== "name" && (key in a.inputs || (fieldOf(key) && key !== "busy_share")))
    .map((key) => [title(key), cell({ ...a, ...one }, key), cell({ ...b, ...two }, key), ratio(key)]);
  const loops = [a, b].map((row) => loopTexts(DATA.details[row.i]));
  const shared = loops.every((texts) => texts["shared loops"]); // then those at DRAM are told
  const slots = Object.keys({ ...loops[0], ...loops[1] })
    .filter((slot) => !shared || !slot.endsWith(` at ${DATA.details[a.i].platform.offchip}`))
    .map((slot) => [slot, loops[0][slot] || "–", loops[1][slot] || "–", ""]);
  return [...costs, ...slots].filter(([, first, second]) => first !== second);
}

// The groups and the loops of a mapping, by what they are.
function loopTexts({ groups, einsums }) {
  const each = (key, between = " ") => groups.flatMap((group) => group[key].join(between) || []).join("; ");
  const found = { groups: each("einsums", " + "), "shared loops": each("shared"), staged: each("staged") };
  for (const [name, { mapping }] of Object.entries(einsums))
    for (const [slot, loops] of Object.entries(mapping.loops)) found[`${name} at ${slot}`] = loops.join(" ");
  return found;
}

function drawDifference() {
  const place = at("difference");
  place.hidden = !(state.beside in DATA.details) || state.beside === state.picked;
  if (place.hidden) return;
  const [a, b] = [DATA.rows[state.picked], DATA.rows[state.beside]];
  const rows = differences(a, b);
  const told = table(["", a.name, b.name, "second / first"], rows);
  at("difference-table").replaceChildren(rows.length ? told : node("p", { class: "note" }, "Nothing differs."));
}
