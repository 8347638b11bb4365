// The start, and what happens when something is chosen.

function refresh() {
  const faults = [];
  const rows = filtered(faults);
  at("fault").textContent = faults.join("; ");
  at("filter").setAttribute("aria-invalid", String(faults.length > 0));
  const left = rows.filter((row) => !isDone(row)).length;
  at("count").textContent =
    `${whole(rows.length)} of ${whole(DATA.rows.length)} configurations` +
    (left ? `, ${whole(left)} without an answer` : "");
  drawBody(rows);
  sayHidden();
  writeAddress();
  drawCosts(rows);
  drawRoofline(rows);
  drawCurves(rows);
  drawPareto(rows);
}

function pick(index, show = false) {
  if (!(String(index) in DATA.details)) return;
  state.picked = index;
  for (const line of at("table").tBodies[0].rows) {
    const mine = Number(line.dataset.row) === index;
    line.classList.toggle("picked", mine);
    line.querySelector("button").setAttribute("aria-pressed", String(mine));
  }
  at("pick").value = String(index);
  writeAddress();
  if (show) at("mapping").scrollIntoView();
  const rows = filtered();
  drawMapping();
  drawRoofline(rows);
  drawPareto(rows);
}

function paint(dark) {
  state.dark = dark;
  document.documentElement.classList.toggle("dark", dark);
  document.documentElement.style.colorScheme = dark ? "dark" : "light";
  at("theme").textContent = dark ? "Light" : "Dark";
}

function everything() {
  refresh();
  drawMapping();
}

function listen() {
  let waiting;
  const later = (act, delay) => {
    clearTimeout(waiting);
    waiting = setTimeout(act, delay);
  };
  at("filter").addEventListener("input", ({ target }) => {
    state.text = target.value;
    later(refresh, 120);
  });
  at("filters").addEventListener("submit", (event) => event.preventDefault());
  at("filters").addEventListener("reset", () => {
    Object.assign(state, { text: "", sort: null });
    state.facets.clear();
    setTimeout(() => {
      at("hue").value = state.hue;
      refresh();
    });
  });
  const choose = (id, act) => at(id)?.addEventListener("change", ({ target }) => act(target.value));
  const set = (key, chosen, draw) => {
    state[key] = chosen;
    draw();
    writeAddress();
  };
  for (const [key, id] of Object.entries(CHOSEN)) choose(id, (chosen) => set(key, chosen, refresh));
  choose("window", (chosen) => set("window", chosen, drawMapping));
  choose("pick", (index) => pick(Number(index)));
  choose("beside", (index) => set("beside", index === "" ? null : Number(index), drawMapping));
  at("more").addEventListener("click", () => set("all", true, refresh));
  at("table-csv").addEventListener("click", () => save("configurations", "csv", csvOf(filtered().map(flat))));
  document.addEventListener("scroll", sayHidden, { capture: true, passive: true }); // of any table
  listenToAddress();
  listenToMarks();
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth !== width) later(everything, 250); // a phone's bars change the height only
    width = innerWidth;
  });
  at("theme").addEventListener("click", () => paint(!state.dark));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", (event) => paint(event.matches));
}

// Which columns stand outside the view, so that nobody takes a cut table for a whole one.
function sayHidden() {
  for (const box of document.querySelectorAll(".scroll"))
    box.classList.toggle("more", box.scrollWidth - box.scrollLeft - box.clientWidth > 8);
  const edge = at("table").parentElement.getBoundingClientRect().right;
  const heads = [...at("table").tHead.querySelectorAll("th")];
  const out = heads.filter((one) => one.getBoundingClientRect().right > edge + 8).map((one) => one.textContent);
  at("hidden-columns").textContent = out.length ? `Scroll sideways for ${out.join(", ")}.` : "";
}

function offerChoices() {
  const listed = Object.keys(DATA.details).map(Number);
  const options = listed.map((i) => [String(i), DATA.rows[i].name]);
  state.picked = [...listed].sort((a, b) => DATA.rows[a].edp_js - DATA.rows[b].edp_js)[0] ?? null;
  at("pick").replaceChildren(...options.map(([i, name]) => option(i, name, i === String(state.picked))));
  at("beside").replaceChildren(option("", "nothing"), ...options.map(([i, name]) => option(i, name)));
  const costs = DATA.costs.filter((key) => new Set(done.map((row) => row[key])).size > 1);
  for (const axis of ["across", "up"])
    at(CHOSEN[axis])?.replaceChildren(...costs.map((key) => option(key, title(key), key === state[axis])));
}

paint(state.dark);
drawFilters();
drawHead();
offerChoices();
Object.assign(START, state);
readAddress();
listen();
everything();
if (section) at(section).scrollIntoView({ behavior: "instant" });
document.documentElement.dataset.ready = String(Math.round(performance.now()));
