// What is chosen, in the page's address, so that a link shows the same.

const PLAIN = ["text", "sort", "hue", "part", "window", "across", "up"];
const START = {}; // what is chosen at first; only what differs from it is written
let section = "";

function addressed() {
  const told = new URLSearchParams();
  for (const key of PLAIN) if (state[key] !== START[key] && state[key]) told.set(key, state[key]);
  for (const key of ["picked", "beside"]) if (state[key] !== START[key]) told.set(key, String(state[key]));
  for (const key of ["down", "all"]) if (state[key]) told.set(key, "1");
  for (const [key, wanted] of state.facets) if (wanted) told.set(`is.${key}`, wanted);
  return `#${section}${[...told].length ? `?${told}` : ""}`;
}

function writeAddress() {
  const now = addressed();
  if (now !== (location.hash || "#")) history.replaceState(null, "", now === "#" ? location.pathname : now);
}

// Takes over what an address says, as far as the page has it.
function readAddress() {
  const [place, query = ""] = location.hash.slice(1).split("?");
  section = at(place)?.tagName === "SECTION" ? place : "";
  const told = new URLSearchParams(query);
  const options = { hue: "hue", part: "parts", across: "pareto-x", up: "pareto-y" };
  for (const key of PLAIN) {
    const value = told.get(key) ?? START[key];
    const known = !options[key] || [...(at(options[key])?.options ?? [])].some((o) => o.value === value);
    if (known) state[key] = value;
  }
  for (const key of ["picked", "beside"])
    state[key] = told.get(key) in DATA.details ? Number(told.get(key)) : START[key];
  for (const key of ["down", "all"]) state[key] = told.has(key);
  state.facets = new Map([...told].filter(([k]) => k.startsWith("is.")).map(([k, v]) => [k.slice(3), v]));
  at("filter").value = state.text;
  for (const [key, id] of Object.entries(options)) if (at(id)) at(id).value = state[key];
  for (const select of at("facets").querySelectorAll("select"))
    select.value = state.facets.get(select.name) ?? "";
  at("pick").value = String(state.picked);
  at("beside").value = String(state.beside ?? "");
}

function listenToAddress() {
  history.scrollRestoration = "manual"; // the address says where to begin
  addEventListener("hashchange", () => {
    readAddress();
    everything().then(() => at(section)?.scrollIntoView());
  });
  for (const link of document.querySelectorAll("nav a"))
    link.addEventListener("click", (event) => {
      event.preventDefault();
      section = link.hash.slice(1);
      at(section).scrollIntoView();
      writeAddress();
    });
}
