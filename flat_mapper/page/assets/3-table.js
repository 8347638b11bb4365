// The table: filter, facets, sort, and the choice of a row.

const FIRST_ROWS = 40;

// The key that a name in a filter stands for, and the base of its unit; nothing where there is none.
function boundOf(asked) {
  const input = DATA.varying.find((path) => [short(path), path].some((one) => one.toLowerCase() === asked));
  if (input) return numbers.has(input) ? [input, 1] : undefined;
  const found = Object.entries(FIELDS).find(([key, { word, title }]) => word && [word, key, title].includes(asked));
  return found && [found[0], UNITS[found[1].unit].scale ?? 1];
}

const COMPARE = {
  "<": (a, b) => a < b,
  ">": (a, b) => a > b,
  "<=": (a, b) => a <= b,
  ">=": (a, b) => a >= b,
  "=": (a, b) => Math.abs(a - b) <= 1e-9 * Math.abs(b),
};

// Words that must all occur in a row, and comparisons such as `latency<50ms` that must all hold.
// A word that is neither leaves all rows in, and stands in `faults` with what was expected.
function matcher(text, faults) {
  const test = (word) => {
    const low = word.toLowerCase();
    const occurs = (row) => row.search.includes(low);
    if (!/[<>]|^[\w.-]+=/.test(word)) return occurs;
    const found = /^([\w.-]+)(<=|>=|<|>|=)([^<>=]+)$/.exec(word);
    const bound = found ? quantity(found[3]) : NaN;
    if (found?.[2] === "=" && Number.isNaN(bound) && DATA.rows.some(occurs)) return occurs; // a name's `P=512`
    const [key, scale] = (found && boundOf(found[1].toLowerCase())) ?? [];
    if (key && !Number.isNaN(bound))
      return (row) => typeof value(row, key) === "number" && COMPARE[found[2]](value(row, key) * scale, bound);
    const words = Object.values(FIELDS).flatMap((field) => field.word || []);
    const names = [...words, ...[...numbers].map(short)].join(", ");
    faults.push(
      !found || Number.isNaN(bound)
        ? `${word}: expected a name, < > <= >= or =, and a number with its unit, such as latency<50ms; left out`
        : `${word}: expected one of ${names} before ${found[2]}; left out`,
    );
    return () => true;
  };
  const tests = text.split(/\s+/).filter(Boolean).map(test);
  return (row) => tests.every((one) => one(row));
}

function filtered(faults = []) {
  const matches = matcher(state.text, faults);
  const chosen = [...state.facets].filter(([, wanted]) => wanted);
  const rows = DATA.rows.filter(
    (row) => matches(row) && chosen.every(([key, wanted]) => String(value(row, key)) === wanted),
  );
  const key = state.sort;
  if (key === null) return rows;
  const order = (a, b) => (typeof a === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true }));
  const missing = (row) => unknown(value(row, key));
  const compared = (a, b) => (missing(a) ? 0 : order(value(a, key), value(b, key)));
  return rows.sort((a, b) => missing(a) - missing(b) || (state.down ? -1 : 1) * compared(a, b));
}

// Inputs that a name does not already tell: with a single one, the name is its value.
const inputColumns = () => (DATA.varying.length > 1 ? DATA.varying : []);

function drawHead() {
  const heading = (key, text) =>
    node(
      "th",
      { scope: "col", class: worded(key) && "text", "data-key": key },
      node("button", { type: "button", "aria-label": text || "number", on: { click: () => sortBy(key) } }, text || "#"),
    );
  const names = [...inputColumns(), ...DATA.columns].map((key) => heading(key, title(key)));
  const first = heading("name", inputColumns().length ? "" : "configuration");
  at("table").tHead.replaceChildren(node("tr", {}, first, names));
}

function sortBy(key) {
  const falling = FIELDS[key]?.best === "most"; // the best first
  if (state.sort !== key) Object.assign(state, { sort: key, down: falling });
  else if (state.down === falling) state.down = !falling;
  else state.sort = null;
  refresh();
}

function drawBody(rows) {
  const marks = new Map(
    DATA.questions.map((asked) => [asked, extremes(rows.filter((row) => isDone(row) && row.question === asked))]),
  );
  const listed = state.all ? rows : rows.slice(0, FIRST_ROWS);
  at("table").tBodies[0].replaceChildren(...listed.map((row) => drawRow(row, marks.get(row.question))));
  for (const head of at("table").tHead.querySelectorAll("th"))
    if (head.dataset.key === state.sort) head.setAttribute("aria-sort", state.down ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  at("more").hidden = listed.length === rows.length;
  at("more").textContent = `Show all ${whole(rows.length)} rows`;
}

// The largest and the best value of each column among rows that answer one question.
function extremes(rows) {
  const found = { top: {}, best: {} };
  for (const key of DATA.columns) {
    const values = rows.map((row) => row[key]).filter((one) => typeof one === "number");
    found.top[key] = Math.max(...values);
    if (FIELDS[key].best && new Set(values).size > 1)
      found.best[key] = FIELDS[key].best === "most" ? found.top[key] : Math.min(...values);
  }
  return found;
}

function drawRow(row, marks) {
  const detailed = String(row.i) in DATA.details;
  const picked = row.i === state.picked;
  const name = node(
    "button",
    {
      type: "button",
      "aria-label": row.name,
      "aria-pressed": String(picked),
      title: detailed ? row.name : `${row.name}: no details are kept`,
      disabled: !detailed,
      on: { click: () => pick(row.i, true) },
    },
    inputColumns().length ? String(row.i + 1) : row.name,
  );
  const measured = (key) => {
    const { bar, best } = FIELDS[key];
    const classes = [worded(key) && "text", bar && "meter", key === "busy_share" && "lines"];
    if (best && row[key] === marks.best[key]) classes.push("best");
    const share = bar && `--share:${(100 * row[key]) / marks.top[key]}%`;
    const text = cell(row, key).replaceAll(", ", "\n");
    return node("td", { class: classes.filter(Boolean).join(" ") || null, style: share || null }, text);
  };
  return node(
    "tr",
    { class: [picked && "picked", !isDone(row) && "refused"].filter(Boolean).join(" ") || null, "data-row": row.i },
    node("th", { scope: "row" }, name),
    inputColumns().map((path) => node("td", { class: worded(path) && "text" }, inputText(row.inputs[path]))),
    isDone(row)
      ? DATA.columns.map(measured)
      : node("td", { class: "text", colspan: DATA.columns.length }, `${row.status}: ${row.reason}`),
  );
}

function drawFilters() {
  const valuesOf = (key) => [...new Set(DATA.rows.map((row) => value(row, key)).filter((one) => one !== undefined))];
  const keys = [...DATA.varying, "bottleneck", "granularity"];
  const facet = (key) => {
    const change = ({ target }) => (state.facets.set(key, target.value), refresh());
    const options = valuesOf(key).map((one) => option(String(one), inputText(one)));
    return node("label", {}, title(key), node("select", { name: key, on: { change } }, option("", "all"), options));
  };
  const few = keys.filter((key) => valuesOf(key).length > 1 && valuesOf(key).length <= 40);
  at("facets").replaceChildren(...few.map(facet));
  const hues = keys.filter((key) => !DATA.varying.includes(key) || valuesOf(key).length <= 10);
  state.hue = hues.includes("mapspace") ? "mapspace" : hues[0];
  at("hue").replaceChildren(...hues.map((key) => option(key, title(key), key === state.hue)));
  for (const row of DATA.rows)
    row.search = [row.name, ...Object.values(row.inputs), row.status, row.granularity, row.bottleneck, row.flat_tile]
      .join(" ")
      .toLowerCase();
}
