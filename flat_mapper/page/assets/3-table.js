// The table: filter, facets, sort, and the choice of a row.

const COLUMNS = [
  { key: "latency", head: "latency", shown: (r) => r.latency_t, meter: true, best: Math.min },
  { key: "speedup", head: "speed-up", shown: (r) => r.speedup_t, best: Math.max },
  { key: "energy", head: "energy", shown: (r) => r.energy_t, meter: true, best: Math.min },
  { key: "saving", head: "saving", shown: (r) => r.saving_t, best: Math.max },
  { key: "edp", head: "EDP", shown: (r) => r.edp_t, best: Math.min },
  { key: "util", head: "utilization", shown: (r) => r.util_t, best: Math.max },
  { key: "busiest", head: "busy", shown: (r) => r.busy_t.replaceAll(", ", "\n"), lines: true },
  { key: "power", head: "power", shown: (r) => r.power_t, best: Math.min },
  { key: "offchip", head: "off-chip", shown: (r) => r.offchip_t, best: Math.min },
  {
    key: "live",
    head: "buffer in use",
    shown: (r) => (r.share === null ? bytes(r.live) : `${bytes(r.live)} · ${percent(r.share, 0)}`),
  },
  {
    key: "area",
    head: "area",
    shown: (r) => r.area_t,
    best: Math.min,
    needed: (rows) => new Set(rows.map((r) => r.area)).size > 1,
  },
  { key: "granularity", head: "granularity", shown: (r) => r.granularity, text: true },
  { key: "tile", head: "FLAT-tile", shown: (r) => r.tile || "–", text: true },
  { key: "bottleneck", head: "limited by", shown: (r) => r.bottleneck, text: true },
];
const NAMES = { utilization: "util", busy: "busiest", buffer: "live", "speed-up": "speedup", "off-chip": "offchip" };
const FIRST_ROWS = 40;

const value = (row, key) => (key in row.inputs ? row.inputs[key] : key === "name" ? row.i : row[key]);

const BOUNDS = [
  ...["latency", "speedup", "energy", "saving", "edp", "util", "busiest", "power", "offchip", "live", "area"],
  "capacity",
];

// The number that a name in a filter stands for; undefined where there is none.
function boundKey(asked) {
  const input = DATA.varying.find(
    (path) => short(path).toLowerCase() === asked || path.toLowerCase() === asked,
  );
  const key = input ?? NAMES[asked] ?? asked;
  return input ? (numeric(input) ? input : undefined) : BOUNDS.find((name) => name === key);
}

// Words that must all occur in a row, and comparisons such as `latency<50ms` that must all hold.
// A word that is neither leaves all rows in, and stands in `faults` with what was expected.
function matcher(text, faults = []) {
  const tests = text
    .split(/\s+/)
    .filter(Boolean)
    .map((word) => {
      if (!/[<>]|^[\w.-]+=/.test(word)) return (row) => row.search.includes(word.toLowerCase());
      const found = /^([\w.-]+)(<=|>=|<|>|=)([^<>=]+)$/.exec(word);
      const bound = found ? quantity(found[3]) : NaN;
      const told = wordsOf(word);
      if (found?.[2] === "=" && Number.isNaN(bound) && told) return told;
      const key = found && boundKey(found[1].toLowerCase());
      if (!found || Number.isNaN(bound) || !key) {
        const names = [...BOUNDS.slice(0, -1), "buffer", ...DATA.varying.filter(numeric).map(short)];
        faults.push(
          !found || Number.isNaN(bound)
            ? `${word}: expected a name, < > <= >= or =, and a number with its unit, such as latency<50ms; left out`
            : `${word}: expected one of ${names.join(", ")} before ${found[2]}; left out`,
        );
        return () => true;
      }
      const compare = {
        "<": (a) => a < bound,
        ">": (a) => a > bound,
        "<=": (a) => a <= bound,
        ">=": (a) => a >= bound,
        "=": (a) => Math.abs(a - bound) <= 1e-9 * Math.abs(bound),
      }[found[2]];
      return (row) => typeof value(row, key) === "number" && compare(value(row, key));
    });
  return (row) => tests.every((test) => test(row));
}

// A word with = in it that occurs in some row as it stands, such as a name's `P=512`.
function wordsOf(word) {
  const low = word.toLowerCase();
  return DATA.rows.some((row) => row.search.includes(low)) ? (row) => row.search.includes(low) : null;
}

function filtered(faults = []) {
  const matches = matcher(state.text, faults);
  const rows = DATA.rows.filter(
    (row) =>
      matches(row) &&
      [...state.facets].every(([key, wanted]) => !wanted || String(value(row, key)) === wanted),
  );
  if (state.sort === null) return rows;
  const key = state.sort;
  const order = (a, b) =>
    typeof a === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
  const missing = (row) => value(row, key) === undefined || value(row, key) === null;
  return rows.sort(
    (a, b) =>
      missing(a) - missing(b) ||
      (state.down ? -1 : 1) * (missing(a) ? 0 : order(value(a, key), value(b, key))),
  );
}

const wanted = (rows) =>
  COLUMNS.filter((column) => !column.needed || column.needed(rows.filter((r) => r.status === "done")));

// Inputs that a name does not already tell: with a single one, the name is its value.
const inputColumns = () => (DATA.varying.length > 1 ? DATA.varying : []);

function drawHead() {
  const cell = (key, text, isText) =>
    node(
      "th",
      { scope: "col", class: isText ? "text" : null, "data-key": key },
      node(
        "button",
        { type: "button", "aria-label": text || "number", on: { click: () => sortBy(key) } },
        text || "#",
      ),
    );
  const inputs = inputColumns().map((path) => cell(path, short(path), !numeric(path)));
  const costs = wanted(DATA.rows).map((column) => cell(column.key, column.head, column.text));
  at("table").tHead.replaceChildren(
    node("tr", {}, cell("name", inputColumns().length ? "" : "configuration", true), ...inputs, ...costs),
  );
}

function sortBy(key) {
  const falling = ["speedup", "saving", "util", "busiest"].includes(key); // the best first
  if (state.sort !== key) Object.assign(state, { sort: key, down: falling });
  else if (state.down === falling) state.down = !falling;
  else state.sort = null;
  refresh();
}

function drawBody(rows) {
  const body = at("table").tBodies[0];
  const columns = wanted(DATA.rows);
  const done = rows.filter((row) => row.status === "done");
  const marks = new Map(
    DATA.questions.map((asked) => [asked, extremes(columns, done.filter((row) => row.question === asked))]),
  );
  const listed = state.all ? rows : rows.slice(0, FIRST_ROWS);
  body.replaceChildren(...listed.map((row) => drawRow(row, columns, marks.get(row.question))));
  for (const head of at("table").tHead.querySelectorAll("th")) {
    if (head.dataset.key === state.sort)
      head.setAttribute("aria-sort", state.down ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  }
  at("more").hidden = listed.length === rows.length;
  at("more").textContent = `Show all ${whole(rows.length)} rows`;
}

// The largest and the best value of each column among rows that answer one question.
function extremes(columns, rows) {
  const of = (key) => rows.map((row) => row[key] ?? NaN);
  const top = columns.filter((c) => c.meter).map((c) => [c.key, Math.max(...of(c.key))]);
  const best = columns
    .filter((c) => c.best && new Set(of(c.key)).size > 1)
    .map((c) => [c.key, c.best(...of(c.key))]);
  return { top: Object.fromEntries(top), best: Object.fromEntries(best) };
}

function drawRow(row, columns, marks) {
  const detailed = String(row.i) in DATA.details;
  const text = inputColumns().length ? String(row.i + 1) : row.name;
  const name = node(
    "button",
    {
      type: "button",
      "aria-label": row.name,
      "aria-pressed": String(row.i === state.picked),
      title: detailed ? row.name : `${row.name}: no details are kept`,
      disabled: !detailed,
      on: { click: () => pick(row.i, true) },
    },
    text,
  );
  const inputs = inputColumns().map((path) =>
    node("td", { class: numeric(path) ? null : "text" }, inputText(row.inputs[path])),
  );
  const line = node(
    "tr",
    {
      class:
        `${row.i === state.picked ? "picked" : ""} ${row.status === "done" ? "" : "refused"}`.trim() || null,
      "data-row": row.i,
    },
    node("th", { scope: "row" }, name),
    ...inputs,
  );
  if (row.status !== "done") {
    line.append(node("td", { class: "text", colspan: columns.length }, `${row.status}: ${row.reason}`));
    return line;
  }
  for (const column of columns) {
    const cell = node(
      "td",
      {
        class:
          [
            column.text ? "text" : "",
            column.meter ? "meter" : "",
            column.lines ? "lines" : "",
            column.best && row[column.key] === marks.best[column.key] ? "best" : "",
          ]
            .join(" ")
            .trim() || null,
      },
      column.shown(row),
    );
    if (column.meter) cell.style.setProperty("--share", `${(100 * row[column.key]) / marks.top[column.key]}%`);
    line.append(cell);
  }
  return line;
}

function drawFilters() {
  const keys = [...DATA.varying, "granularity", "bottleneck"];
  const facets = keys
    .map((key) => [
      key,
      [
        ...new Set(
          DATA.rows
            .map((row) => value(row, key))
            .filter((v) => v !== undefined)
            .map(String),
        ),
      ],
    ])
    .filter(([, values]) => values.length > 1 && values.length <= 40);
  at("facets").replaceChildren(
    ...facets.map(([key, values]) => {
      const name = key === "bottleneck" ? "limited by" : short(key);
      const choose = (event) => {
        state.facets.set(key, event.target.value);
        refresh();
      };
      return node(
        "label",
        {},
        name,
        node(
          "select",
          { name: key, on: { change: choose } },
          node("option", { value: "" }, "all"),
          ...values.map((v) => node("option", { value: v }, numeric(key) ? inputText(Number(v)) : v)),
        ),
      );
    }),
  );
  const hues = [
    ...DATA.varying.filter((path) => new Set(DATA.rows.map((r) => r.inputs[path])).size <= 10),
    "bottleneck",
    "granularity",
  ];
  state.hue = hues.includes("mapspace") ? "mapspace" : hues[0];
  at("hue").replaceChildren(
    ...hues.map((key) =>
      node(
        "option",
        { value: key, selected: key === state.hue },
        key === "bottleneck" ? "limited by" : short(key),
      ),
    ),
  );
  for (const row of DATA.rows)
    row.search = [
      row.name,
      ...Object.values(row.inputs),
      row.status,
      row.granularity,
      row.bottleneck,
      row.tile,
    ]
      .join(" ")
      .toLowerCase();
}
