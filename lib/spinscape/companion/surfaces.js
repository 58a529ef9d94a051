// Turns the pictures of spinscape.companion.interactive into plotly surfaces, when they come into view.
"use strict";

(() => {
  const { plotly, addStyle, dataOf, plotBox, colours, onTheme, plain, watch } = window.spinscapeFigures;
  const start = { x: 1.7, y: -1.7, z: 1 };
  const narrow = 600;

  addStyle(`
    .spinscape-surfaces { margin: 1rem 0; }
    .spinscape-surfaces img { max-width: 100%; }
    .spinscape-surfaces-buttons { display: flex; flex-wrap: wrap; gap: .5rem; justify-content: center; }
    .spinscape-surfaces-buttons button { color: inherit; background: none; border: 1px solid currentColor;
      border-radius: .3rem; padding: .2rem .6rem; min-height: 2rem; }
    @media screen { .spinscape-surfaces.drawn > img { display: none; } }
    @media print { .spinscape-surfaces-plot, .spinscape-surfaces-buttons { display: none; } }`);

  function webgl() {
    const canvas = document.createElement("canvas");
    return Boolean(canvas.getContext("webgl2") || canvas.getContext("webgl"));
  }

  function scene(k) {
    return k ? `scene${k + 1}` : "scene";
  }

  function heights(surface) {
    const rows = [];
    for (let j = 0; j < surface.y.length; j++) {
      const row = surface.z.slice(j * surface.x.length, (j + 1) * surface.x.length);
      rows.push(row.map((part) => (part === null ? null : surface.low + part * surface.step)));
    }
    return rows;
  }

  function layout(data, width) {
    const { ink, grid } = colours();
    const count = data.surfaces.length;
    const stacked = width < narrow;
    const result = {
      paper_bgcolor: "rgba(0,0,0,0)", font: { color: ink }, showlegend: false, annotations: [],
      margin: { l: 0, r: 0, t: 10, b: 0 }, height: stacked ? 340 * count : 420,
    };
    data.surfaces.forEach((surface, k) => {
      const share = [k / count, (k + 1) / count];
      const turned = [1 - share[1], 1 - share[0]];
      const domain = stacked ? { x: [0, 1], y: turned } : { x: share, y: [0, 1] };
      const axis = (title) => ({ title: { text: title }, gridcolor: grid, zerolinecolor: grid, color: ink });
      result[scene(k)] = {
        domain, dragmode: "turntable", camera: { eye: { ...start } },
        xaxis: axis(data.axes[0]), yaxis: axis(data.axes[1]), zaxis: axis(data.axes[2]),
      };
      result.annotations.push({
        text: plain(surface.label), showarrow: false, xref: "paper", yref: "paper", xanchor: "center",
        yanchor: "top", x: (domain.x[0] + domain.x[1]) / 2, y: domain.y[1],
      });
    });
    return result;
  }

  function repaint(Plotly, plot, data) {
    const { ink, grid } = colours();
    const change = { "font.color": ink };
    data.surfaces.forEach((_, k) => {
      for (const axis of ["xaxis", "yaxis", "zaxis"]) {
        change[`${scene(k)}.${axis}.color`] = ink;
        change[`${scene(k)}.${axis}.gridcolor`] = grid;
        change[`${scene(k)}.${axis}.zerolinecolor`] = grid;
      }
    });
    Plotly.relayout(plot, change);
  }

  function turn(Plotly, plot, data, angle, rise) {
    const change = {};
    data.surfaces.forEach((_, k) => {
      const { x, y, z } = plot.layout[scene(k)].camera.eye;
      const radius = Math.hypot(x, y, z);
      const around = Math.atan2(y, x) + angle;
      const up = Math.min(1.5, Math.max(-1.5, Math.asin(z / radius) + rise));
      change[`${scene(k)}.camera.eye`] = {
        x: radius * Math.cos(up) * Math.cos(around), y: radius * Math.cos(up) * Math.sin(around),
        z: radius * Math.sin(up),
      };
    });
    Plotly.relayout(plot, change);
  }

  async function draw(figure) {
    const Plotly = await plotly();
    const data = dataOf(figure);
    const plot = plotBox(figure, "spinscape-surfaces-plot");
    figure.querySelector("img").after(plot);
    const traces = data.surfaces.map((surface, k) => ({
      type: "surface", x: surface.x, y: surface.y, z: heights(surface), scene: scene(k),
      name: plain(surface.label), colorscale: "Viridis", showscale: false,
    }));
    const config = { displayModeBar: false, responsive: true, scrollZoom: false };
    await Plotly.newPlot(plot, traces, layout(data, figure.clientWidth), config);
    const buttons = document.createElement("div");
    buttons.className = "spinscape-surfaces-buttons";
    const moves = { "Turn left": [0.35, 0], "Turn right": [-0.35, 0], "Look from above": [0, 0.25],
      "Look from below": [0, -0.25] };
    for (const [words, move] of Object.entries(moves)) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = words;
      button.addEventListener("click", () => turn(Plotly, plot, data, ...move));
      buttons.append(button);
    }
    plot.after(buttons);
    figure.classList.add("drawn");
    Plotly.Plots.resize(plot);
    onTheme(() => repaint(Plotly, plot, data));
  }

  if (webgl()) watch("figure.spinscape-surfaces", draw);
})();
