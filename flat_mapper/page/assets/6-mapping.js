// One mapping: its loop tree, its timeline and what its buffer holds.

const detail = () => DATA.details[state.picked];
const words = (found, count, level) => bytes((count * (found.bits[level] ?? 16)) / 8);

function chip(tensor, text, staged = false) {
  return node(
    "span",
    { class: `chip${staged ? " staged" : ""}`, hue: colour("tensor", tensor) },
    node("b", {}, tensor),
    text,
  );
}

const looped = (text) => {
  const [rank, factor] = text.split("=");
  return `for ${rank} in [0:${factor})`;
};

const treeOf = (found) =>
  node("div", { class: "tree" }, groupTable(found), ...found.groups.map((group, k) => groupBox(found, group, k)));

function drawTree() {
  const other = DATA.details[state.beside];
  const titled = (index, found) =>
    node("div", {}, node("p", { class: "note" }, DATA.rows[index].name), treeOf(found));
  at("tree").className = other ? "pair even" : "";
  at("tree").replaceChildren(
    ...(other ? [titled(state.picked, detail()), titled(state.beside, other)] : [treeOf(detail())]),
  );
  offerFiles("tree");
}

function groupBox(found, group, k) {
  const crossing = new Map();
  for (const name of group.einsums)
    for (const [tensor, moved] of Object.entries(found.einsums[name].offchip))
      crossing.set(tensor, (crossing.get(tensor) ?? 0) + moved);
  const chips = [...crossing].map(([tensor, moved]) => chip(tensor, bytes(moved)));
  const heading = found.groups.length > 1 ? `Group ${k + 1}` : "One group";
  const title =
    group.granularity === "none" ? group.schedule : `${group.schedule}, granularity ${group.granularity}`;
  const box = node(
    "div",
    { class: group.einsums.length > 1 ? "box wide" : "box" },
    node(
      "div",
      { class: "head" },
      node("b", {}, heading),
      title,
      node("span", { class: "unit" }, `limited by ${group.bottleneck}`),
    ),
    node(
      "div",
      { class: "head" },
      node("b", {}, found.offchip),
      "moves",
      node("span", { class: "chips" }, ...chips),
    ),
  );
  const inner = [
    holdBar(found, group),
    node(
      "ol",
      { class: "einsums", style: "margin-top:.6rem" },
      ...group.einsums.map((name) => einsumCard(found, group, name)),
    ),
  ];
  box.append(...nested(found, group, inner));
  return box;
}

// The shared loops around what runs in each of their passes.
function nested(found, group, inner) {
  if (!group.shared.length) return givenOut(group, inner);
  const detailText = [...tileOf(found, group)].join(" ");
  const head = node(
    "div",
    { class: "head" },
    node("b", {}, "FLAT-tile"),
    detailText,
    node(
      "span",
      { class: "note" },
      `${whole(group.tiles)} of them${group.on_cores ? " on the fullest core" : ""}, ${si(group.tile_cycles * found.cycle, "s")} each`,
    ),
  );
  let now = node("div", { class: "box tile" }, head, ...inner);
  for (const loop of [...group.shared].reverse())
    now = node("div", { class: "loop" }, node("div", { class: "head" }, looped(loop)), now);
  return givenOut(group, [now]);
}

function* tileOf(found, group) {
  const cut = new Map();
  for (const loop of [...(group.on_cores?.given_out ?? []), ...group.shared]) {
    const [rank, factor] = loop.split("=");
    cut.set(rank, (cut.get(rank) ?? 1) * Number(factor.split(",")[0]));
  }
  for (const [rank, factor] of cut) yield `${rank}=${Math.ceil(found.ranks[rank] / factor)}`;
}

function holdBar(found, group) {
  const capacity = group.capacity ?? group.live;
  const parts = Object.entries(group.held).filter(([, count]) => count > 0);
  const stack = parts.map(([tensor, count]) => {
    const part = node("i", {
      hue: colour("tensor", tensor),
      title: `${tensor} ${words(found, count, group.level)}`,
    });
    part.style.width = `${(100 * count) / capacity}%`;
    return part;
  });
  const said = `${group.level} holds ${parts.map(([t, n]) => `${t} ${words(found, n, group.level)}`).join(", ")}`;
  const used = group.capacity
    ? `${words(found, group.live, group.level)} of ${words(found, group.capacity, group.level)} (${percent(group.live / group.capacity)})`
    : words(found, group.live, group.level);
  return node(
    "div",
    { class: "hold" },
    node("div", { class: "head" }, node("b", {}, `${group.level} keeps`), node("span", {}, used)),
    node("div", { class: "stack", role: "img", "aria-label": said }, ...stack),
    node(
      "div",
      { class: "chips", style: "margin-top:.35rem" },
      ...parts.map(([tensor, count]) =>
        chip(tensor, words(found, count, group.level), group.staged.includes(tensor)),
      ),
      group.staged.length ? node("span", { class: "note" }, "● a whole FLAT-tile stays") : "",
    ),
  );
}

function einsumCard(found, group, name) {
  const einsum = found.einsums[name];
  const vector = found.units[einsum.unit] === "vector";
  const card = node(
    "li",
    { class: "einsum", hue: colour("tensor", name) },
    node(
      "h4",
      {},
      node("span", {}, name),
      node("span", { class: "unit" }, vector ? `SFU · ${einsum.unit}` : `PE array · ${einsum.unit}`),
    ),
    node("code", {}, einsum.notation),
  );
  const slots = Object.entries(einsum.loops);
  for (const level of found.nodes[einsum.unit]) {
    const kept = level === found.offchip ? [] : Object.entries(einsum.tiles[level] ?? {});
    const loops = slots.filter(([slot]) => slot === level || slot.startsWith(`${level}.`));
    const texts = loops.flatMap(([slot, list]) => {
      if (slot === found.offchip && group.shared.length) return [];
      const axis = /\.([xy])$/.exec(slot);
      return list.map((loop) => (axis ? `${loop.replace("=", " × ")} along ${axis[1]}` : looped(loop)));
    });
    if (!kept.length && !texts.length) continue;
    card.append(
      node(
        "div",
        { class: "level" },
        node("b", {}, level),
        node(
          "div",
          {},
          kept.length
            ? node(
                "div",
                { class: "chips" },
                ...kept.map(([tensor, count]) => chip(tensor, words(found, count, level))),
              )
            : "",
          ...texts.map((text) => node("div", { class: "for" }, text)),
        ),
      ),
    );
  }
  card.append(
    node(
      "div",
      { class: "level" },
      node("b", {}, "busy"),
      node("div", {}, `${percent(einsum.util)} of its unit, alone ${si(einsum.seconds, "s")}`),
    ),
  );
  return card;
}

const windows = () => {
  const found = detail();
  const fused = found.groups.map((group, k) => [group, k]).filter(([group]) => group.tiles > 1);
  const listed = fused.map(([group, k]) => [
    String(k),
    found.groups.length > 1 ? `group ${k + 1}: two tiles` : "two FLAT-tiles",
  ]);
  return found.groups.length > 1 || !fused.length ? [...listed, ["run", "the whole run"]] : listed;
};

function laneName(found, lane) {
  if (!(lane in found.units)) return lane;
  return `${found.units[lane] === "vector" ? "SFU" : "PE array"} (${lane})`;
}

// Each component's share of the average power, the largest first.
function powerParts(row) {
  const parts = Object.entries(row.power_by).filter(([, watts]) => watts > 0);
  const texts = parts.sort((a, b) => b[1] - a[1]).map(([part, watts]) => `${part} ${si(watts, "W")}`);
  return texts.length ? `: ${texts.join(", ")}` : "";
}

function drawMapping() {
  const found = detail();
  if (!found) return [];
  const options = windows();
  const fused = found.groups.findIndex((group) => group.shared.length);
  if (!options.some(([key]) => key === state.window))
    state.window = options.find(([key]) => key === String(fused))?.[0] ?? options.at(-1)[0];
  at("window").replaceChildren(
    ...options.map(([key, text]) => node("option", { value: key, selected: key === state.window }, text)),
  );
  const row = DATA.rows[state.picked];
  at("mapping-note").textContent = [
    `${row.name}: ${row.latency_t}, ${row.energy_t}, ${row.util_t} utilization (busy: ${row.busy_t}), limited by ${row.bottleneck}.`,
    `Average power ${row.power_t}${powerParts(row)}.`,
    found.repeat > 1 ? `One of ${whole(found.repeat)} runs of the cascade is shown.` : "",
    ...found.notes,
  ].join(" ");
  drawTree();
  drawDifference();
  return [drawTimeline(found), drawOccupancy(found)];
}

function drawTimeline(found) {
  const run = state.window === "run";
  const group = run ? null : found.groups[Number(state.window)];
  const raw = run ? found.run : group.segments;
  const lanes = [...Object.keys(found.units), found.offchip];
  const total = (run ? found.run_cycles : group.cold + 2 * group.tile_cycles) * found.cycle;
  const room = Math.max(200, at("timeline").clientWidth - 120);
  const segments = raw
    .filter(([lane]) => lanes.includes(lane))
    .sort((a, b) => lanes.indexOf(a[0]) - lanes.indexOf(b[0]))
    .map(([lane, name, kind, tile, from, to]) =>
      segment(found, { lane, name, kind, tile, from, to, total, room, run }),
    );
  legend("timeline-legend", byOrder(segments));
  const starts = run
    ? runStarts(found)
    : [1, 2]
        .filter((n) => n <= group.tiles)
        .map((n) => ({
          at: (group.cold + (n - 1) * group.tile_cycles) * found.cycle,
          text: `tile ${n}`,
          color: faint(),
        }));
  at("timeline-note").textContent = run
    ? `Each group as a block: the model adds its cycles up, and transfers overlap its computes.${ofCores(found.groups.find((g) => g.on_cores))}`
    : `Two of ${whole(group.tiles)} tiles, after the first inputs have arrived. Amounts are the model's totals over all tiles, shared out evenly; transfers overlap the computes, and are drawn in the order of their Einsums because the model counts them without placing them.${ofCores(group)}`;
  const head = node(
    "tr",
    {},
    ...["on", "what", "from", "takes"].map((text) => node("th", { scope: "col", class: "text" }, text)),
  );
  at("timeline-table").replaceChildren(
    node(
      "table",
      {},
      node("thead", {}, head),
      node(
        "tbody",
        {},
        ...segments.map((s) =>
          node(
            "tr",
            {},
            ...[s.lane, `${s.name}${run ? "" : `, ${s.what}`}`, s.from_t, s.took_t].map((text) =>
              node("td", { class: "text" }, text),
            ),
          ),
        ),
      ),
    ),
  );
  return draw(
    "timeline",
    "timeline",
    { segments, starts },
    { "@xdomain": [0, total] },
    new Set(segments.map((s) => s.lane)).size,
  );
}

// Names with their colours, in the order of the cascade.
const byOrder = (things) =>
  things
    .map((t) => [t.name, t.color])
    .sort((a, b) => known.tensor.indexOf(a[0]) - known.tensor.indexOf(b[0]));

function segment(found, { lane, name, kind, tile, from, to, total, room, run }) {
  const [start, end] = [from * found.cycle, to * found.cycle];
  const color = kind === "cold start" ? faint() : colour("tensor", name);
  const fits = ((end - start) / total) * room > 7.5 * name.length + 6;
  const what = kind === "cold start" ? "cold start" : run ? kind : `${kind}, tile ${tile}`;
  return {
    i: state.picked,
    lane: laneName(found, lane),
    name,
    what,
    start,
    end,
    middle: (start + end) / 2,
    color,
    ink: readable(color),
    label: fits ? name : "",
    took_t: si(end - start, "s"),
    from_t: si(start, "s"),
    say: `${laneName(found, lane)}: ${name}, ${what}, from ${si(start, "s")} for ${si(end - start, "s")}`,
  };
}

function runStarts(found) {
  let cycles = 0;
  return found.groups.map((group, k) => {
    const start = {
      at: cycles * found.cycle,
      text: found.groups.length <= 6 ? `group ${k + 1}` : "",
      color: faint(),
    };
    cycles += group.cycles;
    return start;
  });
}

function drawOccupancy(found) {
  const run = state.window === "run";
  const group = run
    ? found.groups.reduce((a, b) => (b.live > a.live ? b : a))
    : found.groups[Number(state.window)];
  const total = (run ? found.run_cycles : group.tile_cycles) * found.cycle;
  const size = (found.bits[group.level] ?? 16) / 8;
  const alive = (run ? found.run_alive : group.alive).map(([tensor, transit, from, to, below, count]) => {
    const what = run
      ? "reserved during its group"
      : transit
        ? "the copy on its way to or from DRAM"
        : "in use";
    return {
      i: state.picked,
      name: tensor,
      what,
      start: from * found.cycle,
      end: to * found.cycle,
      below: below * size,
      above: (below + count) * size,
      color: colour("tensor", tensor),
      opacity: transit ? 0.5 : 0.95,
      bytes_t: bytes(count * size),
      from_t: si(from * found.cycle, "s"),
      until_t: si(to * found.cycle, "s"),
      say: `${tensor}, ${what}: ${bytes(count * size)} from ${si(from * found.cycle, "s")} to ${si(to * found.cycle, "s")}`,
    };
  });
  const lines = [
    { at: group.live * size, text: `charged ${bytes(group.live * size)}`, color: faint(), dash: [4, 3] },
  ];
  if (group.capacity && group.capacity <= 4 * group.live)
    lines.push({
      at: group.capacity * size,
      text: `capacity ${bytes(group.capacity * size)}`,
      color: ink(),
      dash: [1, 0],
    });
  legend("occupancy-legend", byOrder(alive));
  const capacity = group.capacity ? ` of ${words(found, group.capacity, group.level)}` : "";
  at("occupancy-title").textContent = run
    ? `${group.level} over the run`
    : `${group.level} over one FLAT-tile`;
  at("occupancy-note").textContent = run
    ? `Each group is charged with all that it holds; the most is ${words(found, group.live, group.level)}${capacity}.`
    : `The model charges ${words(found, group.live, group.level)}${capacity}: the sum of everything held, for the whole tile. Solid: in use from the first Einsum that touches it to the last. Pale: a second copy that travels while the first is used.`;
  const top = Math.max(...lines.map((line) => line.at)) * 1.12;
  return draw(
    "occupancy",
    "occupancy",
    { alive, lines },
    { "@xdomain": [0, total], "@ydomain": [0, top], "@buffer": group.level, "@yticks": byteTicks(top) },
  );
}
