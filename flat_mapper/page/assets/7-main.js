// The start, and what happens when something is chosen.

let pending = Promise.resolve();

function refresh() {
  const faults = [];
  const rows = filtered(faults);
  const left = rows.filter((row) => row.status !== "done").length;
  at("fault").textContent = faults.join("; ");
  at("filter").setAttribute("aria-invalid", String(faults.length > 0));
  at("count").textContent =
    `${whole(rows.length)} of ${whole(DATA.rows.length)} configurations${left ? `, ${whole(left)} without an answer` : ""}`;
  drawBody(rows);
  sayHidden();
  writeAddress();
  pending = Promise.all([
    ...drawCosts(rows),
    ...drawRoofline(rows),
    ...drawCurves(rows),
    ...drawPareto(rows),
  ]);
  return pending;
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
  on("beside", (key) => {
    state.beside = key === "" ? null : Number(key);
    writeAddress();
    pending = Promise.all(drawMapping());
  });
  on("window", (key) => {
    state.window = key;
    writeAddress();
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
  at("table-csv").addEventListener("click", () => save("configurations", "csv", csvOf(tableRows())));
  document.addEventListener("scroll", sayHidden, { capture: true, passive: true }); // of any table
  listenToAddress();
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

// Which columns stand outside the view, so that nobody takes a cut table for a whole one.
function sayHidden() {
  for (const box of document.querySelectorAll(".scroll"))
    box.classList.toggle("more", box.scrollWidth - box.scrollLeft - box.clientWidth > 8);
  const box = at("table").parentElement;
  const edge = box.getBoundingClientRect().right;
  const heads = [...at("table").tHead.querySelectorAll("th")];
  const out = heads.filter((head) => head.getBoundingClientRect().right > edge + 8);
  at("hidden-columns").textContent = out.length
    ? `Scroll sideways for ${out.map((head) => head.textContent).join(", ")}.`
    : "";
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
  at("beside").replaceChildren(
    node("option", { value: "" }, "nothing"),
    ...listed.map((i) => node("option", { value: String(i) }, DATA.rows[i].name)),
  );
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
Object.assign(START, state);
readAddress();
listen();
everything().then(() => {
  if (section) at(section).scrollIntoView({ behavior: "instant" });
  document.documentElement.dataset.ready = String(Math.round(performance.now()));
});
