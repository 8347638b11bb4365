// Figures as SVG, what they are drawn from as CSV, and what is chosen as the page's address.

// A cell of CSV. A text that a spreadsheet would take for a formula gets an apostrophe.
function csvCell(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "number") return String(value);
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
}

function csvOf(rows) {
  const heads = [...new Set(rows.flatMap(Object.keys))];
  const listed = [heads, ...rows.map((row) => heads.map((name) => row[name]))];
  return `${listed.map((line) => line.map(csvCell).join(",")).join("\r\n")}\r\n`;
}

// A line for each loop and each kept tile of the mapping that is shown.
function treeRows() {
  const { groups, einsums, platform } = detail();
  return groups.flatMap((group, k) => {
    const line = (einsum, level, what, text) => ({ group: k + 1, einsum, level, what, text });
    const { given_out: given = [], ...use } = group.on_cores ?? {};
    return [
      ...given.map((loop) => line("", "", "given out to cores", loop)),
      ...Object.entries(use).map(([key, count]) => line("", "", key, count)),
      ...group.shared.map((loop) => line("", platform.offchip, "shared loop", loop)),
      ...group.einsums.flatMap((name) => [
        ...Object.entries(einsums[name].mapping.loops)
          .filter(([slot]) => slot !== platform.offchip || !group.shared.length)
          .flatMap(([slot, loops]) => loops.map((loop) => line(name, slot, "loop", loop))),
        ...Object.entries(einsums[name].tile_words).flatMap(([level, tiles]) =>
          Object.entries(tiles).map(([tensor, words]) => line(name, level, "words kept", `${tensor} ${words}`)),
        ),
      ]),
    ];
  });
}

const svgText = (width, height, inside) =>
  `<svg xmlns="${SVG}" width="${Math.ceil(width)}" height="${Math.ceil(height)}">${inside}</svg>`;
// An element as text, its colours as they are now.
const asXml = (element) =>
  new XMLSerializer()
    .serializeToString(element)
    .replace(/var\((--\w+)\)/g, (_, name) => getComputedStyle(document.documentElement).getPropertyValue(name));

// A part of the page as an SVG that holds it with the page's styles: browsers show it.
function svgOfPart(part) {
  const { width, height } = part.getBoundingClientRect();
  const style = node("style", {}, document.querySelector("style").textContent);
  const themed = node("div", { style: "color: var(--ink)" }, style, part.cloneNode(true));
  return svgText(width, height, `<foreignObject width="100%" height="100%">${asXml(themed)}</foreignObject>`);
}

// A chart as SVG with its legend in a line above it.
function svgOfChart(place) {
  const drawing = place.querySelector("svg").cloneNode(true);
  const [width, height] = ["width", "height"].map((side) => Number(drawing.getAttribute(side)));
  const entries = [...(at(`${place.id.replace("-chart", "")}-legend`)?.children ?? [])];
  let x = 4;
  const keys = entries.flatMap((entry) => {
    const [text, fill] = [entry.textContent, entry.style.getPropertyValue("--hue") || "none"];
    const box = node("rect", { x, y: 5, width: 10, height: 10, fill });
    const word = MARKS.text({ x: x + 14, y: 10, text, color: "var(--ink)", anchor: "start" });
    x += 24 + widthOf(text);
    return [box, word];
  });
  const above = keys.length ? 24 : 0;
  drawing.setAttribute("y", above);
  const legends = node("g", { "font-family": FONT }, keys);
  return svgText(Math.max(width, x), height + above, asXml(legends) + asXml(drawing));
}

function save(name, type, text) {
  const kind = type === "svg" ? "image/svg+xml" : "text/csv";
  const link = node("a", { download: `${name}.${type}`, href: URL.createObjectURL(new Blob([text], { type: kind })) });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

// The buttons below a figure; none where it is empty.
function offerFiles(id) {
  const place = at(id);
  const name = id.replace("-chart", "");
  const tree = id === "tree";
  place.parentElement.querySelector(`.files[data-of="${id}"]`)?.remove();
  if (!tree && !drawn.has(id)) return;
  const chosen = (row) => ["name", ...drawn.get(id).keys].map((key) => [key, row[key]]);
  const told = () => drawn.get(id).rows.map((row) => Object.fromEntries(chosen(row)));
  const csv = () => save(name, "csv", csvOf(tree ? treeRows() : told()));
  const svg = () => save(name, "svg", tree ? svgOfPart(place) : svgOfChart(place));
  const button = (text, act) =>
    node("button", { type: "button", class: "quiet", "aria-label": `${name} as ${text}`, on: { click: act } }, text);
  place.after(node("p", { class: "files", "data-of": id }, button("SVG", svg), button("CSV", csv)));
}

const CHOSEN = { hue: "hue", part: "parts", across: "pareto-x", up: "pareto-y" }; // by the select of each
const PLAIN = ["text", "sort", "window", ...Object.keys(CHOSEN)];
const START = {}; // what is chosen at first; only what differs from it is written
let section = "";

function writeAddress() {
  const said = new URLSearchParams();
  for (const key of [...PLAIN, "picked", "beside"])
    if (state[key] !== START[key] && state[key] !== "" && state[key] !== null) said.set(key, state[key]);
  for (const key of ["down", "all"]) if (state[key]) said.set(key, "1");
  for (const [key, wanted] of state.facets) if (wanted) said.set(`is.${key}`, wanted);
  const now = `#${section}${said.size ? `?${said}` : ""}`;
  if (now !== (location.hash || "#")) history.replaceState(null, "", now === "#" ? location.pathname : now);
}

// Takes over what an address says, as far as the page has it.
function readAddress() {
  const [place, query = ""] = location.hash.slice(1).split("?");
  section = at(place)?.tagName === "SECTION" ? place : "";
  const said = new URLSearchParams(query);
  for (const key of PLAIN) {
    const asked = said.get(key) ?? START[key];
    const options = CHOSEN[key] && [...(at(CHOSEN[key])?.options ?? [])];
    if (!options || options.some((one) => one.value === asked)) state[key] = asked;
  }
  for (const key of ["picked", "beside"])
    state[key] = said.get(key) in DATA.details ? Number(said.get(key)) : START[key];
  for (const key of ["down", "all"]) state[key] = said.has(key);
  state.facets = new Map([...said].filter(([key]) => key.startsWith("is.")).map(([key, one]) => [key.slice(3), one]));
  at("filter").value = state.text;
  for (const [key, id] of Object.entries(CHOSEN)) if (at(id)) at(id).value = state[key];
  for (const select of at("facets").querySelectorAll("select")) select.value = state.facets.get(select.name) ?? "";
  for (const id of ["pick", "beside"]) at(id).value = String(state[id === "pick" ? "picked" : id] ?? "");
}

function listenToAddress() {
  history.scrollRestoration = "manual"; // the address says where to begin
  addEventListener("hashchange", () => {
    readAddress();
    everything();
    at(section)?.scrollIntoView();
  });
  for (const link of document.querySelectorAll("nav a"))
    link.addEventListener("click", (event) => {
      event.preventDefault();
      section = link.hash.slice(1);
      at(section).scrollIntoView();
      writeAddress();
    });
}
