// The start, and what happens when something is chosen.

let pending = Promise.resolve();

function refresh() {
  const rows = filtered();
  const left = rows.filter((row) => row.status !== "done").length;
  at("count").textContent =
    `${whole(rows.length)} of ${whole(DATA.rows.length)} configurations${left ? `, ${whole(left)} without an answer` : ""}`;
  drawBody(rows);
  pending = Promise.all([
    ...drawCosts(rows),
    ...drawRoofline(rows),
    ...drawCurves(rows),
    ...drawPareto(rows),
  ]);
  return pending;
}

function pick(index) {
  if (!(String(index) in DATA.details)) return;
  state.picked = index;
  for (const line of at("table").tBodies[0].rows) {
    const mine = Number(line.dataset.row) === index;
    line.classList.toggle("picked", mine);
    line.querySelector("button").setAttribute("aria-pressed", String(mine));
  }
  at("pick").value = String(index);
  const rows = filtered();
  pending = Promise.all([...drawMapping(), ...drawRoofline(rows), ...drawPareto(rows)]);
}

function paint() {
  document.documentElement.classList.toggle("dark", state.dark);
  document.documentElement.style.colorScheme = state.dark ? "dark" : "light";
  at("theme").textContent = state.dark ? "Light" : "Dark";
}

function listen() {
  let waiting;
  const later = (act, delay) => {
    clearTimeout(waiting);
    waiting = setTimeout(act, delay);
  };
  at("filter").addEventListener("input", (event) => {
    state.text = event.target.value;
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
  const on = (id, act) => at(id)?.addEventListener("change", (event) => act(event.target.value));
  on("hue", (key) => {
    state.hue = key;
    refresh();
  });
  on("parts", (key) => {
    state.part = key;
    refresh();
  });
  on("pick", (key) => pick(Number(key)));
  on("window", (key) => {
    state.window = key;
    pending = Promise.all(drawMapping());
  });
  on("pareto-x", (key) => {
    state.across = key;
    refresh();
  });
  on("pareto-y", (key) => {
    state.up = key;
    refresh();
  });
  at("more").addEventListener("click", () => {
    state.all = true;
    refresh();
  });
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth !== width) later(everything, 250); // a phone's bars change the height only
    width = innerWidth;
  });
  at("theme").addEventListener("click", () => {
    state.dark = !state.dark;
    everything();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", (event) => {
    state.dark = event.matches;
    everything();
  });
}

function everything() {
  paint();
  const done = refresh();
  pending = Promise.all([done, ...drawMapping()]);
  return pending;
}

function choices() {
  const listed = Object.keys(DATA.details).map(Number);
  at("pick").replaceChildren(...listed.map((i) => node("option", { value: String(i) }, DATA.rows[i].name)));
  const least = listed.reduce(
    (best, i) => (best === null || DATA.rows[i].edp < DATA.rows[best].edp ? i : best),
    null,
  );
  state.picked = least;
  at("pick").value = String(least);
  const rows = DATA.rows.filter((row) => row.status === "done");
  const costs = Object.entries(COSTS).filter(([key]) => new Set(rows.map((row) => row[key])).size > 1);
  for (const [id, now] of [
    ["pareto-x", state.across],
    ["pareto-y", state.up],
  ])
    at(id)?.replaceChildren(
      ...costs.map(([key, cost]) => node("option", { value: key, selected: key === now }, cost.title)),
    );
}

learn();
DATA.rows.forEach(dress);
paint();
drawFilters();
drawHead();
choices();
listen();
everything().then(() => {
  document.documentElement.dataset.ready = String(Math.round(performance.now()));
});
