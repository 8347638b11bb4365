"use strict";
// Numbers as people read them; the same forms as flat_mapper/units.py.

const PREFIXES = ["a", "f", "p", "n", "µ", "m", "", "k", "M", "G", "T", "P", "E"];
const BINARY = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

function digits(value, count) {
  return String(Number(value.toPrecision(count)));
}

function si(value, unit = "", count = 4) {
  if (value === null || value === undefined || !isFinite(value)) return "–";
  if (value === 0) return unit ? `0 ${unit}` : "0";
  const rounded = Number(Number(value).toPrecision(count));
  const power = Math.max(-6, Math.min(6, Math.floor(Math.log10(Math.abs(rounded)) / 3 + 1e-12)));
  const prefix = PREFIXES[power + 6] + unit;
  return digits(rounded / 1000 ** power, count) + (prefix ? ` ${prefix}` : "");
}

function bytes(value, count = 4) {
  if (value === null || value === undefined || !isFinite(value)) return "–";
  let power = 0;
  let rest = Number(value);
  while (Math.abs(rest) >= 1024 && power < BINARY.length - 1) {
    rest /= 1024;
    power += 1;
  }
  return `${digits(rest, count)} ${BINARY[power]}`;
}

const percent = (share, count = 1) =>
  share === null || share === undefined ? "–" : `${(100 * share).toFixed(count)}%`;
const times = (value) => (value === null || value === undefined ? "–" : `${value.toFixed(2)}×`);
const whole = (value) => Number(value).toLocaleString("en-US");
const short = (path) => path.replace(/^(arch|problem|rank)\./, "").replace(/^variables\./, "");
const inputText = (value) =>
  typeof value === "number" && Math.abs(value) >= 1e7 ? si(value) : String(value ?? "–");

// The number of a text such as `50ms`, `512KiB`, `90%`; NaN where it is none.
function quantity(text) {
  const found = /^([\d.]+(?:e[-+]?\d+)?)\s*([kmunpµfGMTPE]?)(i?)(?:b|s|j|w|x|×|js|mm2)?(%?)$/i.exec(text);
  if (!found) return NaN;
  const [, number, letter, binary, share] = found;
  const exact = { K: 1, M: 2, G: 3, T: 4, P: 5, E: 6 };
  if (binary) return Number(number) * 1024 ** (exact[letter.toUpperCase()] ?? 0);
  const small = { m: -1, u: -2, µ: -2, n: -3, p: -4, f: -5 };
  const power = small[letter] ?? exact[letter.toUpperCase()] ?? 0;
  return Number(number) * 1000 ** (letter ? power : 0) * (share ? 0.01 : 1);
}

// An element with attributes, classes and children; text stays text.
function node(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "hue") made.style.setProperty("--hue", value);
    else if (name === "on")
      for (const [event, act] of Object.entries(value)) made.addEventListener(event, act);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== ""));
  return made;
}

const at = (id) => document.getElementById(id);
