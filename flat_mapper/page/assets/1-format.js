"use strict";
// Numbers as people read them, the same forms as flat_mapper/base/units.py, and elements.

const PREFIXES = ["a", "f", "p", "n", "µ", "m", "", "k", "M", "G", "T", "P", "E"];
const BINARY = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

const unknown = (value) => value === null || value === undefined || value === "" || Number.isNaN(value);
const digits = (value, count) => String(Number(value.toPrecision(count)));
const whole = (value) => Number(value).toLocaleString("en-US");

function si(value, unit = "", count = 4) {
  if (unknown(value)) return "–";
  if (value === 0) return unit ? `0 ${unit}` : "0";
  const rounded = Number(Number(value).toPrecision(count));
  const power = Math.max(-6, Math.min(6, Math.floor(Math.log10(Math.abs(rounded)) / 3 + 1e-12)));
  const prefix = PREFIXES[power + 6] + unit;
  return digits(rounded / 1000 ** power, count) + (prefix ? ` ${prefix}` : "");
}

function bytes(value, count = 4) {
  if (unknown(value)) return "–";
  const power = Math.max(0, Math.min(BINARY.length - 1, Math.floor(Math.log2(Math.abs(value) || 1) / 10)));
  return `${digits(value / 1024 ** power, count)} ${BINARY[power]}`;
}

const percent = (share, count = 1) => (unknown(share) ? "–" : `${(100 * share).toFixed(count)}%`);
const times = (value) => (unknown(value) ? "–" : `${value.toFixed(2)}×`);

// How a number of a unit is printed; `scale` takes it to the unit's base, in which filters compare.
const UNITS = {
  s: { text: (v, n) => si(v, "s", n) },
  pJ: { text: (v, n) => si(v * 1e-12, "J", n), scale: 1e-12 },
  "J*s": { text: (v, n) => si(v, "J·s", n) },
  W: { text: (v, n) => si(v, "W", n) },
  B: { text: bytes },
  mm2: { text: (v) => `${digits(v, 3)} mm²` },
  share: { text: (v, n) => percent(v, n ? 0 : 1) },
  times: { text: times },
  "/s": { text: (v, n) => si(v, "/s", n) },
  text: { text: String },
  "": { text: (v) => si(v) },
};

const POWERS = { m: -1, u: -2, µ: -2, n: -3, p: -4, f: -5, K: 1, M: 2, G: 3, T: 4, P: 5, E: 6 };

// The number of a text such as `50ms`, `512KiB`, `90%`; NaN where it is none.
function quantity(text) {
  const found = /^([\d.]+(?:e[-+]?\d+)?)\s*([kmunpµfGMTPE]?)(i?)(?:b|s|j|w|x|×|js|mm2)?(%?)$/i.exec(text);
  if (!found) return NaN;
  const [, number, letter, binary, share] = found;
  const large = POWERS[letter.toUpperCase()] ?? 0;
  if (binary) return Number(number) * 1024 ** large;
  return Number(number) * 1000 ** (POWERS[letter] ?? large) * (share ? 0.01 : 1);
}

const DRAWN = new Set(["svg", "g", "path", "rect", "line", "text"]);
const SVG = "http://www.w3.org/2000/svg";

// An element with attributes, classes and children; text stays text.
function node(tag, attributes = {}, ...children) {
  const made = DRAWN.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "hue") made.style.setProperty("--hue", value);
    else if (name === "on") for (const [event, act] of Object.entries(value)) made.addEventListener(event, act);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat(Infinity).filter((child) => child || child === 0));
  return made;
}

const at = (id) => document.getElementById(id);
const option = (value, text, selected) => node("option", { value, selected }, text);

const cells = (tag, texts, attributes) => texts.map((text) => node(tag, attributes, text));

// A table of texts; a row's first cell names it.
function table(head, rows) {
  const line = ([first, ...rest]) =>
    node("tr", {}, cells("th", [first], { scope: "row", class: "text" }), cells("td", rest, { class: "text" }));
  return node(
    "table",
    {},
    node("thead", {}, node("tr", {}, cells("th", head, { scope: "col", class: "text" }))),
    node("tbody", {}, rows.map(line)),
  );
}
