// A group whose tiles are given out to the cores of a chip.

// The loops whose passes cores take, and how well these fill the cores.
function givenOut(group, inner) {
  const use = group.on_cores;
  if (!use) return inner;
  const texts = [
    `${whole(use.tiles)} tiles on ${whole(use.cores)} cores, at most ${whole(use.rounds)} on one`,
    `cores idle ${percent(use.idle)}, imbalance ${use.imbalance.toFixed(3)}`,
  ];
  const spent = node("i", { hue: colour("component", group.bottleneck) });
  spent.style.width = `${100 * (1 - use.idle)}%`;
  let now = inner;
  for (const loop of [...use.given_out].reverse())
    now = [node("div", { class: "loop" }, node("div", { class: "head" }, `${looped(loop)} on cores`), ...now)];
  const said = `cores have a tile in ${percent(1 - use.idle)} of their cycles`;
  return [
    node("div", { class: "head" }, node("b", {}, "Cores"), texts[0], node("span", { class: "note" }, texts[1])),
    node("div", { class: "stack", role: "img", "aria-label": said, title: said }, spent),
    ...now,
  ];
}

const ofCores = (group) =>
  group?.on_cores
    ? ` On ${whole(group.on_cores.cores)} cores: computes are those of the mean core at work, the buffer is one core's.`
    : "";
