// How a chart is drawn: scales, axes, one function for each kind of mark, labels, and the hover.

const drawn = new Map(); // the rows that each chart is drawn from, as its CSV has them
const behind = new WeakMap(); // what a drawn mark stands for
const FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif';
const PEN = document.createElement("canvas").getContext("2d");

function widthOf(text, size = 11.5) {
  PEN.font = `${size}px ${FONT}`;
  return PEN.measureText(text).width;
}

// From the values of an axis to pixels.
function scale({ domain: [from, to], log }, start, end) {
  const into = log ? Math.log : (v) => v;
  const per = (end - start) / (into(to) - into(from) || 1);
  return (value) => start + per * (into(value) - into(from));
}

// The ends of an axis that has room beside its values.
function around(values, log) {
  const [into, out] = log ? [Math.log, Math.exp] : [(v) => v, (v) => v];
  const [low, high] = [into(Math.min(...values)), into(Math.max(...values))];
  const room = (high - low || Math.abs(high) || 1) * 0.07;
  return [out(low - room), out(high + room)];
}

// Round numbers between two ends: powers of two of bytes; decades, with 2 and 5 where these are few.
function ticks({ domain: [from, to], log, key }, count) {
  const base = FIELDS[key]?.unit === "B" ? 2 : 10;
  const found = [];
  if (log) {
    const decades = Math.log(to / from) / Math.log(base);
    const every = base === 2 ? Math.max(1, Math.round(decades / 8)) : 1;
    const steps = base === 10 && decades <= 3.2 ? [1, 2, 5] : [1];
    for (let power = Math.floor(Math.log(from) / Math.log(base)); base ** power <= to; power += every)
      found.push(...steps.map((step) => step * base ** power));
    return found.filter((tick) => tick >= from * 0.999 && tick <= to * 1.001);
  }
  const rough = (to - from) / count;
  const power = base ** Math.floor(Math.log(rough) / Math.log(base) + 1e-9);
  const step = power * (base === 2 ? (rough > power ? 2 : 1) : [1, 2, 5, 10].find((n) => n * power >= rough * 0.999));
  for (let k = Math.ceil(from / step - 1e-9); k * step <= to * (1 + 1e-9); k += 1) found.push(k * step);
  return found;
}

const SHAPES = {
  circle: (r) => `M${-r},0a${r},${r} 0 1,0 ${2 * r},0a${r},${r} 0 1,0 ${-2 * r},0`,
  diamond: (r) => `M0,${-1.3 * r}L${r},0L0,${1.3 * r}L${-r},0Z`,
  triangle: (r) => `M0,${-1.2 * r}L${1.1 * r},${0.8 * r}L${-1.1 * r},${0.8 * r}Z`,
};
// One for each kind of mark; x, y, x2 and y2 are pixels.
const MARKS = {
  bar: ({ x, x2, y, y2, color, opacity }) =>
    node("rect", { x, y: y2, width: Math.max(x2 - x, 0.3), height: y - y2, fill: color, "fill-opacity": opacity }),
  point: ({ x, y, shape = "circle", radius, color, opacity }) =>
    node("path", { d: SHAPES[shape](radius), transform: `translate(${x},${y})`, fill: color, "fill-opacity": opacity }),
  line: ({ x, y, x2, y2, color, dashed }) =>
    node("line", { x1: x, y1: y, x2, y2, stroke: color, "stroke-width": 1.5, "stroke-dasharray": dashed && "4 3" }),
  text: ({ x, y, text, color = "var(--muted)", anchor = "middle", dx = 0, dy = 0, size = 11.5 }) =>
    node("text", { x: x + dx, y: y + dy + 4, fill: color, "text-anchor": anchor, "font-size": size }, text),
};

// Where values of x and y stand in a chart of some width, and its ticks. An axis has a `domain` and a
// `unit`, or `bands`: names of rows that are `step` pixels high, told by their numbers. `room`: pixels for what stands after bars.
function frameOf(width, x, y) {
  const levels = y.bands
    ? [...fitting(y, innerWidth < 560 ? 150 : 250).entries()]
    : ticks(y, 5).map((v) => [v, shown(y, v)]);
  const size = y.bands ? 12.5 : 11.5;
  const left = Math.max(...levels.map(([, text]) => widthOf(text, size))) + (titled(y) ? 28 : 10);
  const box = { left, right: width - 16 - (x.room ?? 0), top: y.top ?? 8, size };
  box.bottom = box.top + (y.bands ? y.bands.length * y.step : y.height);
  const across = scale(x, left, box.right);
  const up = y.bands ? (band) => box.top + (band + 0.5) * y.step : scale(y, box.bottom, box.top);
  return { ...box, across, up, levels, x, y };
}

const shown = ({ key }, tick) => (key ? UNITS[FIELDS[key].unit].text(tick, 3) : digits(tick, 3));
const titled = (axis) => axis.title ?? (axis.key ? title(axis.key) : "");

// Names of bands in some width, still told apart: without what their values are of, then without
// their middles, then by their numbers.
function fitting({ bands, ids = [] }, width) {
  const cut = (text, room) => {
    const most = Math.floor(text.length * Math.min(1, room / widthOf(text, 12.5)));
    return most >= text.length ? text : `${text.slice(0, most / 2)}…${text.slice(1 - most / 2)}`;
  };
  const wide = bands.some((name) => widthOf(name, 12.5) > width);
  const plain = wide ? bands.map((name) => name.replace(/\S+?=/g, "")) : bands;
  const short = plain.map((name) => cut(name, width));
  const apart = new Set(short).size === new Set(bands).size;
  return apart ? short : plain.map((name, k) => `${ids[k] ?? k + 1}: ${cut(name, width - 35)}`);
}

function axesOf({ left, right, top, bottom, across, up, levels, size, x, y }) {
  const made = [];
  let free = -Infinity; // pixels from which the next label of x has room
  for (const tick of ticks(x, Math.max(3, Math.min(8, (right - left) / 90)))) {
    const [px, text] = [across(tick), shown(x, tick)];
    made.push(node("line", { x1: px, x2: px, y1: top, y2: bottom, stroke: "var(--line)" }));
    const half = widthOf(text) / 2;
    if (px - half < free || px + half > right + 14) continue;
    made.push(MARKS.text({ x: px, y: bottom + 13, text }));
    free = px + half + 8;
  }
  for (const [level, text] of levels) {
    const py = up(level);
    if (!y.bands) made.push(node("line", { x1: left, x2: right, y1: py, y2: py, stroke: "var(--line)" }));
    made.push(MARKS.text({ x: left - 7, y: py, text, anchor: "end", size, color: y.bands && "var(--ink)" }));
  }
  made.push(MARKS.text({ x: (left + right) / 2, y: bottom + 30, text: titled(x) }));
  const turned = MARKS.text({ x: 0, y: 0, text: titled(y) });
  turned.setAttribute("transform", `translate(9,${(top + bottom) / 2}) rotate(-90)`);
  return node("g", { class: "axis", "aria-hidden": "true" }, made, turned);
}

// A chart in its place: bars or points, told by their `keys` in hovers and CSV, with [kind, items] under
// and over them. Items stand at x and y, and reach to x2 and y2; a `thick` bar lies along its band.
// labels: texts beside points, as far as there is room; they avoid some lines.
function chart(id, said, { x, y, keys, bar, point, under = [], over = [], labels = [], avoid = [] }) {
  const place = at(id);
  const rows = bar ?? point;
  drawn.delete(id);
  if (rows.length) drawn.set(id, { rows, keys });
  offerFiles(id);
  if (!rows.length) return place.replaceChildren(node("p", { class: "note" }, "Nothing to draw."));
  const width = Math.max(220, place.clientWidth);
  const frame = frameOf(width, x, y);
  const { across, up } = frame;
  const inPixels = (item) => {
    const found = { ...item, x: across(item.x), y: up(item.y) };
    if ("x2" in item) found.x2 = across(item.x2);
    if ("y2" in item) found.y2 = up(item.y2);
    if (item.thick) [found.y, found.y2] = [found.y + item.thick / 2, found.y - item.thick / 2];
    return found;
  };
  const telling = (mark, item) => {
    const tip = keys.map((key) => [title(key), cell(item, key)]);
    behind.set(mark, { ...item, tip });
    mark.setAttribute("role", "img");
    mark.setAttribute("aria-label", `${item.name}: ${tip.map((pair) => pair.join(" ")).join(", ")}`);
    return mark;
  };
  const marks = (kind, items) => items.map((item) => MARKS[kind](inPixels(item)));
  const layer = ([kind, items]) => node("g", { class: kind }, marks(kind, items));
  const shape = bar ? "bar" : "point";
  const told = marks(shape, rows).map((mark, k) => telling(mark, rows[k]));
  const height = frame.bottom + 42;
  const size = { width, height, viewBox: `0 0 ${width} ${height}`, "font-family": FONT };
  place.replaceChildren(
    node(
      "svg",
      { xmlns: SVG, role: "group", "aria-label": said, ...size },
      [axesOf(frame), under.map(layer), node("g", { class: shape }, told), over.map(layer)],
      apart(labels.map(inPixels), frame, avoid.map(inPixels)).map(MARKS.text),
    ),
  );
}

const LEFT_OF_A_LINE = [-9, 10, -14, -34, -24].map((dy, k) => [[-6, -6, -40, -80, -6][k], dy]);

// Labels where they can stand without covering each other, points or lines: right, left, above or
// below. A label that finds no room is left out; the hover still tells it.
function apart(labels, { left, right, top, bottom }, lines) {
  const around = (x, y, w, h) => ({ left: x - w, right: x + w, top: y - h, bottom: y + h });
  const taken = labels.filter(({ radius }) => radius).map(({ x, y, radius }) => around(x, y, radius, radius));
  for (const { x, y, x2, y2 } of lines)
    for (let k = 0; k < 160; k += 1) taken.push(around(x + ((x2 - x) * k) / 159, y + ((y2 - y) * k) / 159, 2, 1));
  const inside = (box) => box.left >= left && box.right <= right && box.top >= top && box.bottom <= bottom;
  const clearOf = (a) => (b) => a.left >= b.right || a.right <= b.left || a.top >= b.bottom || a.bottom <= b.top;
  return labels.flatMap(({ text, x, y, color, radius = 0, leftwards }) => {
    if (!text) return [];
    const [w, r] = [widthOf(text) / 2 + 2, radius + 3];
    const sides = [0, -14, 14].flatMap((dy) => [r + w, -r - w].map((dx) => [dx, dy]));
    const along = LEFT_OF_A_LINE.map(([dx, dy]) => [dx - w, dy]);
    for (const [dx, dy] of leftwards ? along : [...sides.slice(0, 2), [0, -r - 7], [0, r + 7], ...sides.slice(2)]) {
      const box = around(x + dx, y + dy, w, 7);
      if (!inside(box) || !taken.every(clearOf(box))) continue;
      taken.push(box);
      return [{ text, x: x + dx, y: y + dy, color }];
    }
    return [];
  });
}

function legend(id, items) {
  const hues = new Map(items.map(({ name, color }) => [name, color]));
  at(id).replaceChildren(...[...hues].map(([name, hue]) => node("span", { hue }, node("i"), name)));
}

// The hover over a mark, and a click on it.
function listenToMarks() {
  const tip = at("tip");
  document.addEventListener("pointermove", ({ target, clientX, clientY }) => {
    const item = behind.get(target);
    tip.hidden = !item;
    if (!item) return;
    const texts = item.tip.map(([name, text]) =>
      node("tr", {}, node("td", { class: "key" }, name), node("td", {}, text)),
    );
    tip.replaceChildren(node("b", {}, item.name), node("table", {}, texts));
    const { width, height } = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(4, Math.min(clientX + 14, innerWidth - width - 8))}px`;
    tip.style.top = `${clientY + 18 + height > innerHeight ? clientY - height - 12 : clientY + 18}px`;
  });
  document.addEventListener("click", ({ target }) => {
    const item = behind.get(target);
    if (item?.i !== undefined) pick(item.i, !at("mapping").contains(target));
  });
}
