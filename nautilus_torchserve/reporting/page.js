"use strict";
// Draws each figure into the element of its name, with the page's ink: light or dark, desktop or phone.

const figures = JSON.parse(document.getElementById("figures").textContent);
const dark = matchMedia("(prefers-color-scheme: dark)");
const narrow = matchMedia("(max-width: 760px)");
const touch = matchMedia("(pointer: coarse)");

function look(layout) {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const changed = {
    font: { color: colour("--muted"), family: "system-ui, sans-serif", size: narrow.matches ? 11 : 12 },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    hoverlabel: { bgcolor: colour("--card"), bordercolor: colour("--grid"), font: { color: colour("--ink") } },
    dragmode: touch.matches ? false : "zoom", // a finger scrolls the page
    margin: { ...layout.margin, l: narrow.matches ? 56 : 64, r: narrow.matches ? 8 : 16 },
    autosize: true,
  };
  for (const axis of Object.keys(layout).filter((key) => /^[xy]axis/.test(key))) {
    changed[axis] = {
      ...layout[axis],
      gridcolor: colour("--grid"),
      linecolor: colour("--grid"),
      zeroline: false,
      automargin: true,
      title: { ...layout[axis].title, standoff: 10 },
    };
    if (layout[axis].nticks && axis[0] === "x" && narrow.matches) changed[axis].nticks = 4;
  }
  return { ...layout, ...changed };
}

function draw() {
  for (const [name, figure] of Object.entries(figures)) {
    const config = { responsive: true, displayModeBar: false };
    Plotly.react(name, figure.data, look(structuredClone(figure.layout)), config);
  }
}

draw();
for (const query of [dark, narrow]) query.addEventListener("change", draw);
