// The groups of one mapping side by side: what each fuses, takes, and keeps from DRAM.

function groupTable(found) {
  if (found.groups.length < 2 || !found.groups.every((group) => group.cost)) return "";
  const all = { cycles: 0, energy: 0 };
  for (const group of found.groups) {
    all.cycles += group.cycles;
    all.energy += group.cost.energy;
  }
  const cells = (tag, texts) => texts.map((text) => node(tag, {}, text));
  const row = (group, k) => {
    const { energy, offchip, saved, kept } = group.cost;
    const held = Object.entries(kept).map(([level, tensors]) => `${tensors.join(", ")} in ${level}`);
    return node(
      "tr",
      {},
      ...cells("td", [
        String(k + 1),
        group.einsums.join(" + "),
        si(group.cycles * found.cycle, "s"),
        percent(group.cycles / all.cycles),
        si(energy, "J"),
        percent(energy / all.energy),
        bytes(offchip),
        saved ? bytes(saved) : "–",
        held.join("; ") || "–",
      ]),
    );
  };
  const heads = ["group", "Einsums", "latency", "of all", "energy", "of all", "off-chip", "saved", "kept on chip"];
  return node(
    "div",
    { class: "scroll" },
    node(
      "table",
      { class: "groups" },
      node("caption", { class: "note" }, "Groups of one run; saved: what each Einsum on its own would move beside"),
      node("thead", {}, node("tr", {}, ...cells("th", heads))),
      node("tbody", {}, ...found.groups.map(row)),
    ),
  );
}
