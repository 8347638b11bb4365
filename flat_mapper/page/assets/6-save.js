// Figures as SVG, and what they are drawn from as CSV.

const UNSAID = new Set(["say", "color", "ink", "opacity", "size", "shape", "dash", "label", "order", "search"]);

// A cell of CSV. A text that a spreadsheet would take for a formula gets an apostrophe.
function csvCell(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "number") return String(value);
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
}

function csvOf(rows) {
  const plain = (value) => ["string", "number"].includes(typeof value) || value === null;
  const heads = [...new Set(rows.flatMap((row) => Object.keys(row).filter((key) => plain(row[key]))))].filter(
    (key) => !UNSAID.has(key) && !key.endsWith("_t"),
  );
  const bare = (key, value) => (key === "bar" ? value.slice(value.indexOf("|") + 1) : value);
  const lines = [heads, ...rows.map((row) => heads.map((key) => bare(key, row[key])))];
  return `${lines.map((line) => line.map(csvCell).join(",")).join("\r\n")}\r\n`;
}

const named = (head, parts) =>
  Object.fromEntries(Object.entries(parts ?? {}).map(([part, value]) => [`${head}.${part}`, value]));

// The table's rows as filtered and sorted: all inputs, then all costs in SI units and bytes, with the
// busy share of each unit and the average power of each component.
function tableRows() {
  return filtered().map((row) => {
    const costs = Object.fromEntries(
      [...COLUMNS.map((column) => column.key), "capacity", "status", "reason"].map((key) => [key, row[key]]),
    );
    const parts = { ...named("busy", row.busy), power_limit: row.power_limit, ...named("power", row.power_by) };
    return { name: row.name, ...row.inputs, ...costs, ...parts };
  });
}

// A line for each loop and each kept tile of the mapping that is shown.
function treeRows() {
  const found = detail();
  return found.groups.flatMap((group, k) => {
    const line = (einsum, level, what, text) => ({ group: k + 1, einsum, level, what, text });
    const own = group.einsums.flatMap((name) => [
      ...Object.entries(found.einsums[name].loops).flatMap(([slot, loops]) =>
        slot === found.offchip && group.shared.length ? [] : loops.map((loop) => line(name, slot, "loop", loop)),
      ),
      ...Object.entries(found.einsums[name].tiles).flatMap(([level, tiles]) =>
        Object.entries(tiles).map(([tensor, count]) => line(name, level, "words kept", `${tensor} ${count}`)),
      ),
    ]);
    const use = group.on_cores;
    const cores = use
      ? [
          ...use.given_out.map((loop) => line("", "", "given out to cores", loop)),
          ...["cores", "tiles", "rounds", "idle", "imbalance"].map((key) => line("", "", key, use[key])),
        ]
      : [];
    return [...cores, ...group.shared.map((loop) => line("", found.offchip, "shared loop", loop)), ...own];
  });
}

const XHTML = "http://www.w3.org/1999/xhtml";

// A part of the page as an SVG that holds it with the page's styles: browsers show it.
function svgOfPart(part) {
  const { width, height } = part.getBoundingClientRect();
  const copy = part.cloneNode(true);
  const style = `${document.querySelector("style").textContent} svg{background:none}`;
  const html = new XMLSerializer().serializeToString(copy);
  const themed = `<div xmlns="${XHTML}" class="${state.dark ? "dark" : ""}" style="color:${ink()}">`;
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" width="${Math.ceil(width)}" height="${Math.ceil(height)}">` +
    `<foreignObject width="100%" height="100%">${themed}<style>${escaped(style)}</style>${html}</div></foreignObject></svg>`
  );
}

// A chart as SVG with its legend in a line above it.
async function svgOf(id) {
  const chart = await views.get(id).view.toSVG();
  const [, width, height] = /width="([\d.]+)"[^>]*height="([\d.]+)"/.exec(chart).map(Number);
  const entries = [...(at(`${id.replace("-chart", "")}-legend`)?.children ?? [])];
  let left = 4;
  const keys = entries.map((entry) => {
    const hue = entry.style.getPropertyValue("--hue");
    const text = entry.textContent;
    const x = left;
    left += 24 + 6.4 * text.length;
    const box = hue ? `<rect x="${x}" y="5" width="10" height="10" fill="${escaped(hue)}"/>` : "";
    return `${box}<text x="${x + 14}" y="14" font-family="sans-serif" font-size="11" fill="${ink()}">${escaped(text)}</text>`;
  });
  const above = keys.length ? 24 : 0;
  const size = [Math.ceil(Math.max(width, left)), Math.ceil(height + above)];
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="${size[0]}" height="${size[1]}">` +
    `${keys.join("")}<g transform="translate(0,${above})">${chart}</g></svg>`
  );
}

function save(name, type, text) {
  const link = node("a", {
    download: `${name}.${type}`,
    href: URL.createObjectURL(new Blob([text], { type: type === "svg" ? "image/svg+xml" : "text/csv" })),
  });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

// The buttons below a figure; none where it is empty.
function offerFiles(id) {
  const place = at(id);
  const name = id.replace("-chart", "");
  place.parentElement.querySelector(`.files[data-of="${id}"]`)?.remove();
  if (id !== "tree" && !drawn.has(id)) return;
  const csv = () => save(name, "csv", csvOf(id === "tree" ? treeRows() : drawn.get(id)));
  const svg = async () => save(name, "svg", id === "tree" ? svgOfPart(place) : await svgOf(id));
  const button = (text, act) =>
    node("button", { type: "button", class: "quiet", "aria-label": `${name} as ${text}`, on: { click: act } }, text);
  place.after(node("p", { class: "files", "data-of": id }, button("SVG", svg), button("CSV", csv)));
}
