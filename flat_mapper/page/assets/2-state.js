// What the page knows and what is chosen in it.

const DATA = JSON.parse(at("data").textContent);
const SPECS = JSON.parse(at("specs").textContent);
const SHOWN = 24; // bars in a bar chart: the first rows of the table

const LIGHT = [
  "#2f74c0",
  "#e07b1a",
  "#25946f",
  "#b04f98",
  "#cf4557",
  "#1f9db0",
  "#b3891f",
  "#7363cf",
  "#8b6a47",
  "#7d9118",
];
const DARK = [
  "#63a4ec",
  "#f0a050",
  "#55c39c",
  "#d98acb",
  "#f07f8c",
  "#56c5d6",
  "#d8b94f",
  "#a698f2",
  "#bd9a76",
  "#b9cc4f",
];

const state = {
  text: "",
  facets: new Map(),
  sort: null,
  down: false,
  all: false,
  hue: "",
  part: "component",
  picked: null,
  beside: null,
  window: "",
  across: "latency",
  up: "energy",
  dark: matchMedia("(prefers-color-scheme: dark)").matches,
};

// One list of names for each kind of thing, so that a thing keeps its colour in every chart.
const known = { component: [], tensor: [], value: [] };

function colour(kind, name) {
  const names = known[kind];
  if (!names.includes(name)) names.push(name);
  const palette = state.dark ? DARK : LIGHT;
  return palette[names.indexOf(name) % palette.length];
}

function learn() {
  for (const name of DATA.components) colour("component", name);
  for (const row of DATA.rows) {
    if (!row.by) continue;
    for (const name of [...Object.keys(row.by.tensor), ...Object.keys(row.by.einsum)]) colour("tensor", name);
  }
}

const ink = (theme = state.dark) => (theme ? "#e4e9ee" : "#18202a");
const faint = () => (state.dark ? "#9aa7b4" : "#5a6673");

// Black or white, whichever can be read on a colour.
function readable(hex) {
  const [r, g, b] = [1, 3, 5].map((i) => {
    const part = parseInt(hex.slice(i, i + 2), 16) / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.22 ? "#10161c" : "#ffffff";
}

const numeric = (path) =>
  DATA.varying.includes(path) &&
  DATA.rows.every((row) => !(path in row.inputs) || typeof row.inputs[path] === "number");
const tells = (row) =>
  state.hue === "bottleneck" || state.hue === "granularity"
    ? row[state.hue]
    : inputText(row.inputs[state.hue]);
const hueOf = (row) =>
  state.hue === "bottleneck"
    ? colour("component", row.bottleneck)
    : colour("value", `${state.hue}:${tells(row)}`);

const sharesText = (shares) =>
  Object.entries(shares)
    .map(([unit, share]) => `${unit} ${percent(share)}`)
    .join(", ") || "–";

// Average power beside what the chip may draw, where its files say that.
function powerText({ power, power_limit: limit }) {
  if (power === null || limit === null) return si(power, "W");
  return `${si(power, "W")} ${power > limit ? "exceeds" : "of"} ${si(limit, "W")}`;
}

// Texts of a row's numbers, for the table, hovers and screen readers.
function dress(row) {
  if (row.status !== "done") return;
  Object.assign(row, {
    roofs: DATA.roofs[row.roof],
    latency_t: si(row.latency, "s"),
    energy_t: si(row.energy, "J"),
    edp_t: si(row.edp, "J·s"),
    speedup_t: times(row.speedup),
    saving_t: percent(row.saving),
    util_t: percent(row.util),
    busy_t: sharesText(row.busy),
    power_t: powerText(row),
    offchip_t: bytes(row.offchip),
    area_t: row.area === null ? "–" : `${digits(row.area, 3)} mm²`,
    buffer_t: row.capacity ? `${bytes(row.live)} of ${bytes(row.capacity)}` : bytes(row.live),
    share: row.capacity ? row.live / row.capacity : null,
  });
  row.say = `${row.name}: latency ${row.latency_t}, energy ${row.energy_t}, utilization ${row.util_t}, busy ${row.busy_t}`;
}
