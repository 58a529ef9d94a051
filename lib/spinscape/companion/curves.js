// Puts controls and a plotly plot in the place of the pictures of spinscape.companion.interactive_curves.
"use strict";

(() => {
  const { plotly, addStyle, dataOf, plotBox, colours, onTheme, plain, watch } = window.spinscapeFigures;
  // All stand out from the ground by 3 to 1 and more.
  const onLight = ["#0b6aa8", "#c14a00", "#00795a", "#9c2f7f", "#6b5a00", "#4a4a9c"];
  const onDark = ["#63b8f0", "#ff9d5c", "#4fd1a5", "#f08fcf", "#d8c14a", "#a9a9ff"];
  const dashes = ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot"];
  const narrow = 600;
  let made = 0;

  addStyle(`
    .spinscape-curves { margin: 1rem 0; }
    .spinscape-curves-controls { display: grid; grid-template-columns: fit-content(45%) minmax(0, 1fr) auto;
      gap: .25rem .75rem; align-items: center; max-width: 36rem; margin: 0 auto .5rem; }
    .spinscape-curves-controls label { overflow-wrap: anywhere; }
    .spinscape-curves-controls input[type="range"] { width: 100%; height: 2rem; margin: 0; cursor: pointer; }
    .spinscape-curves-controls input { accent-color: var(--pst-color-link, #0b57b5); }
    .spinscape-curves-controls output { font-variant-numeric: tabular-nums; }
    .spinscape-curves-controls select { grid-column: 2 / 4; min-height: 2rem; width: 100%; font: inherit;
      color: inherit; background: var(--pst-color-background, Canvas); border: 1px solid currentColor;
      border-radius: .3rem; padding: 0 .4rem; }
    .spinscape-curves-controls .alone { grid-column: 2 / 4; }
    .spinscape-curves-controls .fit { grid-column: 1 / 4; display: flex; gap: .5rem; align-items: center;
      min-height: 2rem; }
    .spinscape-curves-controls .fit input { width: 1.15rem; height: 1.15rem; margin: 0; }
    .spinscape-curves-controls :focus-visible { outline: 2px solid var(--pst-color-text-base, currentColor);
      outline-offset: 2px; }
    .spinscape-curves-readout { min-height: 3.2em; font-size: .9em; }
    .spinscape-curves-readout p { margin: .1rem 0; }
    @media screen { .spinscape-curves.drawn > img { display: none; } }
    @media print { .spinscape-curves-stage { display: none; } }`);

  function element(tag, attributes = {}, text = "") {
    const one = Object.assign(document.createElement(tag), attributes);
    one.append(text);
    return one;
  }

  function unpack(packed, log) {
    const back = (part) => {
      if (part === null) return null;
      const value = packed.low + part * packed.step;
      return log ? 10 ** value : value;
    };
    const line = {};
    for (const key of ["middle", "bottom", "top"]) line[key] = packed?.[key]?.map(back) ?? null;
    return line;
  }

  // The ends of what lines show, on the axis's own scale, with a margin.
  function reach(lines, levels) {
    const ends = lines.filter(Boolean).flatMap((one) => [one.low, one.low + levels * one.step]);
    if (!ends.length) return null;
    const low = Math.min(...ends);
    const high = Math.max(...ends);
    const margin = 0.05 * (high - low) || 0.05 * Math.abs(low) || 1;
    return [low - margin, high + margin];
  }

  function words(value) {
    return String(Number(value.toPrecision(3)));
  }

  // Closed shapes between the ends of a band, one for each stretch without gaps.
  function ribbon(x, line) {
    const shape = { x: [], y: [] };
    let stretch = [];
    const close = () => {
      if (stretch.length > 1) {
        const back = [...stretch].reverse();
        shape.x.push(...stretch.map((i) => x[i]), ...back.map((i) => x[i]), null);
        shape.y.push(...stretch.map((i) => line.top[i]), ...back.map((i) => line.bottom[i]), null);
      }
      stretch = [];
    };
    for (let i = 0; i < x.length; i++) {
      if (line.bottom[i] === null || line.top[i] === null) close();
      else stretch.push(i);
    }
    close();
    return shape;
  }

  function hover(line, i) {
    const value = line.middle?.[i] ?? null;
    if (value === null) return "";
    const banded = line.bottom && line.top && line.bottom[i] !== null && line.top[i] !== null;
    return words(value) + (banded ? ` (${words(line.bottom[i])} to ${words(line.top[i])})` : "");
  }

  function traces(data, lines) {
    const palette = colours().dark ? onDark : onLight;
    const bands = [];
    const curves = [];
    lines.forEach((line, k) => {
      const common = { type: "scatter", legendgroup: String(k) };
      if (line.bottom && line.top) {
        bands.push({ ...common, ...ribbon(data.x, line), mode: "lines", line: { width: 0 }, fill: "toself",
          fillcolor: `${palette[k]}33`, hoverinfo: "skip", showlegend: false });
      }
      const y = line.middle ?? data.x.map(() => null);
      const alone = y.map((v, i) => v !== null && (y[i - 1] ?? null) === null && (y[i + 1] ?? null) === null);
      curves.push({ ...common, x: data.x, y, name: plain(data.names[k] || data.axes[1]),
        mode: alone.includes(true) ? "lines+markers" : "lines",
        marker: { size: alone.map((one) => (one ? 6 : 0)), color: palette[k] },
        line: { color: palette[k], dash: dashes[k], width: 2 },
        customdata: y.map((_, i) => hover(line, i)), hovertemplate: "%{customdata}", showlegend: true });
    });
    return [...bands, ...curves];
  }

  function layout(data, lines, range, width) {
    const { ink, grid } = colours(0.15);
    const ground = getComputedStyle(document.body).backgroundColor;
    const axis = (k) => ({ title: { text: plain(data.axes[k]) }, type: data.log[k] ? "log" : "linear",
      color: ink, gridcolor: grid, zeroline: false, fixedrange: true, exponentformat: "power",
      automargin: true });
    const missing = lines.every((line) => line.middle === null);
    const ends = [data.x[0], data.x.at(-1)].map((v) => (data.log[0] ? Math.log10(v) : v));
    return {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: ground, font: { color: ink, size: 13 },
      height: width < narrow ? 320 : 380,
      margin: { l: 64, r: 12, t: data.names.length > 1 ? 30 : 12, b: 48 },
      xaxis: { ...axis(0), range: ends, hoverformat: ".3~g", spikecolor: ink,
        spikethickness: 1, spikedash: "dot" }, yaxis: { ...axis(1), range },
      showlegend: data.names.length > 1,
      legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", itemclick: false, itemdoubleclick: false },
      dragmode: false, hovermode: "x unified",
      hoverlabel: { bgcolor: ground, bordercolor: ink, font: { color: ink } },
      annotations: missing ? [{ text: "no curve here", showarrow: false, xref: "paper", yref: "paper",
        x: 0.5, y: 0.5, font: { size: 16, color: ink }, bgcolor: ground }] : [],
    };
  }

  function sentence(data, line, name) {
    const begin = name ? `${name}: ` : "";
    const there = [...data.x.keys()].filter((i) => (line.middle?.[i] ?? null) !== null);
    if (!there.length) return `${begin}no curve here.`;
    const highest = there.reduce((best, i) => (line.middle[i] > line.middle[best] ? i : best));
    const lowest = there.reduce((best, i) => (line.middle[i] < line.middle[best] ? i : best));
    // What the parts of a line's range cannot tell from zero is zero.
    const step = data.log[1] ? 0 : (line.middle[highest] - line.middle[lowest]) / data.levels;
    const value = (y) => words(Math.abs(y) < step ? 0 : y);
    const at = (i) => `${value(line.middle[i])} at ${words(data.x[i])}`;
    const gaps = data.x.length - there.length;
    const lacking = gaps ? `; ${gaps} of ${data.x.length} points are missing` : "";
    return `${begin}${at(there[0])}, ${at(there.at(-1))}; highest ${at(highest)}, lowest ${at(lowest)}${lacking}.`;
  }

  function readOut(readout, data, chosen, lines) {
    const choice = data.controls.map((one, k) => `${one.name} = ${one.values[chosen[k]]}`).join(", ");
    const lacking = lines.every((line) => line.middle === null);
    const said = lacking ? [`There is no curve for ${choice}.`]
      : [`${choice}.`, ...lines.map((line, k) => sentence(data, line, data.names[k]))];
    readout.replaceChildren(...said.map((text) => element("p", {}, text)));
  }

  // One row of the controls: a slider for numbers, a list for words, a word where there is no choice.
  function row(control, id, choose) {
    if (control.values.length === 1) {
      return [element("span", {}, control.name), element("span", { className: "alone" }, control.values[0])];
    }
    const label = element("label", { htmlFor: id }, control.name);
    if (!control.numeric) {
      const select = element("select", { id });
      select.append(...control.values.map((text, k) => element("option", { value: k }, text)));
      select.value = control.start;
      select.addEventListener("change", () => choose(Number(select.value)));
      return [label, select];
    }
    const slider = element("input", { id, type: "range", min: 0, max: control.values.length - 1, step: 1 });
    slider.value = control.start;
    const output = element("output");
    output.htmlFor.add(id);
    output.style.minWidth = `${Math.max(...control.values.map((text) => text.length))}ch`;
    // The slider says its value itself.
    output.setAttribute("aria-live", "off");
    const say = () => {
      output.value = control.values[slider.value];
      slider.setAttribute("aria-valuetext", output.value);
    };
    say();
    slider.addEventListener("input", () => { say(); choose(Number(slider.value)); });
    return [label, slider, output];
  }

  function build(figure, data, stage, change) {
    const id = `spinscape-curves-${made++}`;
    const chosen = data.controls.map((one) => one.start);
    const controls = element("div", { className: "spinscape-curves-controls" });
    controls.setAttribute("role", "group");
    controls.setAttribute("aria-label", "Choose what the plot shows");
    data.controls.forEach((control, k) => {
      controls.append(...row(control, `${id}-${k}`, (place) => { chosen[k] = place; change(); }));
    });
    const fit = element("input", { type: "checkbox", id: `${id}-fit`, checked: data.fit });
    fit.addEventListener("change", change);
    const label = element("label", { htmlFor: fit.id }, "Fit the vertical axis to what is shown");
    const choice = element("div", { className: "fit" }, fit);
    choice.append(label);
    controls.append(choice);
    const readout = element("div", { className: "spinscape-curves-readout", id: `${id}-readout` });
    readout.setAttribute("aria-live", "polite");
    const plot = plotBox(figure, "spinscape-curves-plot");
    plot.setAttribute("aria-describedby", readout.id);
    stage.append(controls, plot, readout);
    return { chosen, fit, plot, readout };
  }

  async function draw(figure) {
    const Plotly = await plotly();
    const data = dataOf(figure);
    const everywhere = reach(data.curves.flat(), data.levels);
    const stage = element("div", { className: "spinscape-curves-stage" });
    let waiting = 0;
    const change = () => { waiting ||= requestAnimationFrame(() => { waiting = 0; show(); }); };
    const parts = build(figure, data, stage, change);
    const show = () => {
      const place = parts.chosen.reduce((at, k, c) => at * data.controls[c].values.length + k, 0);
      const packed = data.curves[place];
      const lines = packed.map((line) => unpack(line, data.log[1]));
      const range = (parts.fit.checked && reach(packed, data.levels)) || everywhere;
      const config = { displayModeBar: false, responsive: true, scrollZoom: false };
      readOut(parts.readout, data, parts.chosen, lines);
      const frame = layout(data, lines, range, figure.clientWidth);
      return Plotly.react(parts.plot, traces(data, lines), frame, config);
    };
    figure.querySelector("img").after(stage);
    try {
      await show();
    } catch (error) {
      stage.remove();
      throw error;
    }
    figure.classList.add("drawn");
    Plotly.Plots.resize(parts.plot);
    onTheme(change);
  }

  watch("figure.spinscape-curves", draw);
})();
