// What the page knows and what is chosen in it.

const DATA = JSON.parse(at("data").textContent);
const SHOWN = 24; // bars in a bar chart: the first rows of the table

const FIELDS = DATA.fields; // by its key in a row: title and unit, which is best, the word for it in a filter

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
  across: "latency_s",
  up: "energy_pj",
  dark: matchMedia("(prefers-color-scheme: dark)").matches,
};

// A thing keeps its colour in every chart; choices such as mapspaces get theirs as they come.
const choices = [];
const known = (kind) => Object.keys(DATA.hues[kind]);

function colour(kind, name) {
  if (kind !== "value") return DATA.hues[kind][name] ?? "var(--muted)";
  if (!choices.includes(name)) choices.push(name);
  return DATA.choices[choices.indexOf(name) % DATA.choices.length];
}

const isDone = (row) => row.status === "done";
const done = DATA.rows.filter(isDone);

const short = (path) => path.replace(/^(arch|problem|rank)\./, "").replace(/^variables\./, "");
const fieldOf = (key) => FIELDS[key] ?? FIELDS[key.split(".")[0]];
const title = (key) =>
  FIELDS[key]?.title ?? (fieldOf(key) ? key.replace(/^\w+\./, `${fieldOf(key).title} `) : short(key));
const numbers = new Set(
  DATA.varying.filter((path) => DATA.rows.every(({ inputs }) => typeof (inputs[path] ?? 0) === "number")),
);
const worded = (key) => (fieldOf(key) ? fieldOf(key).unit === "text" : !numbers.has(key));
const value = (row, key) => row.inputs?.[key] ?? (key === "name" ? row.i : row[key]);

const inputText = (input) => (typeof input === "number" && Math.abs(input) >= 1e7 ? si(input) : String(input ?? "–"));
// Where a number is told with what the chip has of it, or with its parts.
const ASIDE = {
  busy_share: ({ busy }) => Object.entries(busy).map(([unit, share]) => `${unit} ${percent(share)}`).join(", ") || "–",
  total_power_w: ({ total_power_w: power, power_limit_w: limit }) =>
    si(power, "W") + (unknown(power) || unknown(limit) ? "" : ` ${power > limit ? "exceeds" : "of"} ${si(limit, "W")}`),
  buffer_bytes: ({ buffer_bytes: live, buffer_capacity_bytes: all }) =>
    bytes(live) + (all ? ` · ${percent(live / all, 0)}` : ""),
};
function cell(row, key, count) {
  if (key in (row.inputs ?? {})) return inputText(row.inputs[key]);
  if (ASIDE[key]) return ASIDE[key](row);
  return unknown(row[key]) ? "–" : UNITS[fieldOf(key)?.unit ?? "text"].text(row[key], count);
}

// A row with its parts as keys of their own, `busy.MAC`, and without what is the page's alone.
function flat({ i, question, search, roof, name, inputs, energy_by_pj: by, ...row }) {
  const parts = { name, ...inputs, ...row, energy_by_pj: by?.component };
  const listed = Object.entries(parts).flatMap(([key, one]) =>
    one !== null && typeof one === "object"
      ? Object.entries(one).map(([part, each]) => [`${key}.${part}`, each])
      : [[key, one]],
  );
  return Object.fromEntries(listed);
}

const hueOf = (row) =>
  state.hue === "bottleneck"
    ? colour("component", row.bottleneck)
    : colour("value", `${state.hue}:${cell(row, state.hue)}`);
