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
  const set = (key, id, draw) =>
    choose(id, (chosen) => {
      state[key] = chosen;
      draw();
    });
  for (const [key, id] of Object.entries(CHOSEN)) set(key, id, refresh);
  const shown = () => {
    writeAddress();
    drawMapping();
  };
  set("window", "window", shown);
  choose("pick", (index) => pick(Number(index)));
  choose("beside", (index) => {
    state.beside = index === "" ? null : Number(index);
    shown();
  });
  at("more").addEventListener("click", () => {
    state.all = true;
    refresh();
  });
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

function choices() {
  const listed = Object.keys(DATA.details).map(Number);
  const options = listed.map((i) => [String(i), DATA.rows[i].name]);
  const least = listed.reduce(
    (best, i) => (best === null || DATA.rows[i].edp_js < DATA.rows[best].edp_js ? i : best),
    null,
  );
  state.picked = least;
  at("pick").replaceChildren(...options.map(([i, name]) => option(i, name, i === String(least))));
  at("beside").replaceChildren(option("", "nothing"), ...options.map(([i, name]) => option(i, name)));
  const costs = DATA.costs.filter((key) => new Set(done.map((row) => row[key])).size > 1);
  for (const [id, now] of [
    ["pareto-x", state.across],
    ["pareto-y", state.up],
  ])
    at(id)?.replaceChildren(...costs.map((key) => option(key, title(key), key === now)));
}

paint(state.dark);
drawFilters();
drawHead();
choices();
Object.assign(START, state);
readAddress();
listen();
everything();
if (section) at(section).scrollIntoView({ behavior: "instant" });
document.documentElement.dataset.ready = String(Math.round(performance.now()));
