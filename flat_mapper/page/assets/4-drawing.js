// How a chart is drawn: its theme, its ticks, and where its labels stand.

const views = new Map();
const drawn = new Map(); // the marks of each chart, as its CSV has them
const PAINTED = 3000; // marks
const FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif';

function theme() {
  const narrow = innerWidth < 560;
  const grid = state.dark ? "#262f38" : "#e8ecf0";
  return {
    background: null,
    font: FONT,
    view: { stroke: null },
    axis: {
      labelColor: faint(),
      titleColor: faint(),
      gridColor: grid,
      domainColor: state.dark ? "#46525e" : "#b6c0ca",
      tickColor: state.dark ? "#46525e" : "#b6c0ca",
      labelFontSize: 11.5,
      titleFontSize: 11.5,
      titleFontWeight: 500,
      titlePadding: 8,
      labelPadding: 5,
    },
    axisY: { labelLimit: narrow ? 105 : 250 },
    axisBand: { grid: false, labelColor: ink(), labelFontSize: narrow ? 11 : 12.5 },
    text: { color: ink(), fontSize: 11.5, font: FONT },
  };
}

// A specification with the words that start with @ replaced by what they stand for.
function filled(part, tokens) {
  if (typeof part === "string") return part in tokens ? tokens[part] : part;
  if (Array.isArray(part))
    return part.length === 1 && part[0] in tokens
      ? tokens[part[0]]
      : part.map((inner) => filled(inner, tokens));
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
    drawn.delete(id);
    offerFiles(id);
    place.replaceChildren(node("p", { class: "note" }, "Nothing to draw."));
    return;
  }
  const spec = {
    ...filled(SPECS[chart], tokens),
    datasets,
    autosize: { type: "fit-x", contains: "padding" },
  };
  if (bands) spec.height = spec.height.step * bands;
  const renderer =
    Math.max(...Object.values(datasets).map((rows) => rows.length)) > PAINTED ? "canvas" : "svg";
  const old = views.get(id);
  const made = await vegaEmbed(place, spec, {
    mode: "vega-lite",
    renderer,
    actions: false,
    config: theme(),
    expressionFunctions: { si: (v, u) => si(v, u, 3), bytes: (v) => bytes(v, 3), plain: (v) => digits(v, 3) },
    tooltip: { theme: state.dark ? "dark" : "light", sanitize: (text) => escaped(text) },
  });
  if (old) old.finalize();
  views.set(id, made);
  made.view.addEventListener("click", (_, item) => {
    if (item && item.datum && item.datum.i !== undefined) pick(item.datum.i, id !== "timeline" && id !== "occupancy");
  });
  drawn.set(id, Object.values(datasets)[0]);
  offerFiles(id);
}

function escaped(text) {
  return String(text).replace(
    /[&<>"]/g,
    (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c],
  );
}

function legend(id, items) {
  const seen = new Map(items.map(([name, hue]) => [name, hue]));
  at(id).replaceChildren(...[...seen].map(([name, hue]) => node("span", { hue }, node("i"), name)));
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
  return {
    domain: [out(from), out(to)],
    to: (v) => (length * (into(v) - from)) / (to - from),
    back: (px) => out(from + (px / length) * (to - from)),
  };
}

// Where labels can stand without covering each other: right, left, above or below their points.
// A label that finds no room is left out; the hover still tells it.
function placed(labels, width, height, lines = []) {
  const taken = lines.map(([px, py]) => ({ left: px - 2, right: px + 2, top: py - 1, bottom: py + 1 }));
  const clear = (box) =>
    box.left >= 0 &&
    box.right <= width &&
    box.top >= 0 &&
    box.bottom <= height &&
    !taken.some((t) => box.left < t.right && box.right > t.left && box.top < t.bottom && box.bottom > t.top);
  const found = [];
  for (const label of labels)
    if (label.radius)
      taken.push({
        left: label.px - label.radius,
        right: label.px + label.radius,
        top: label.py - label.radius,
        bottom: label.py + label.radius,
      });
  for (const label of labels) {
    if (!label.text) continue;
    const [w, h, r] = [label.text.length * 6.3 + 4, 14, (label.radius ?? 0) + 3];
    const spots = label.spots ?? [
      [r + w / 2, 0],
      [-r - w / 2, 0],
      [0, -r - h / 2],
      [0, r + h / 2],
      [r + w / 2, -h],
      [-r - w / 2, -h],
      [r + w / 2, h],
      [-r - w / 2, h],
    ];
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
