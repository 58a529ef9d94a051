// What the figures of spinscape.companion that move have in common: surfaces.js and curves.js run after this.
"use strict";

(() => {
  const folder = new URL(".", document.currentScript.src).href;

  let library = null;
  function plotly() {
    library ??= new Promise((resolve, reject) => {
      // A module loader on the page would take the library for itself.
      const define = window.define;
      window.define = undefined;
      const script = document.createElement("script");
      script.src = `${folder}plotly.min.js`;
      script.onload = () => { window.define = define; resolve(window.Plotly); };
      script.onerror = () => { window.define = define; reject(new Error("plotly.min.js is missing")); };
      document.head.append(script);
    });
    return library;
  }

  function addStyle(text) {
    const style = document.createElement("style");
    style.textContent = text;
    document.head.append(style);
  }

  function dataOf(figure) {
    return JSON.parse(figure.querySelector('script[type="application/json"]').textContent);
  }

  // A box for a plot that says the picture's words.
  function plotBox(figure, name) {
    const plot = document.createElement("div");
    plot.className = name;
    plot.setAttribute("role", "img");
    plot.setAttribute("aria-label", figure.querySelector("img").alt);
    return plot;
  }

  // The colours of the text and of lines of a grid, and whether text is light on a dark ground.
  function colours(share = 0.3) {
    const ink = getComputedStyle(document.body).color;
    const [red, green, blue] = (ink.match(/[\d.]+/g) ?? [0, 0, 0]).map(Number);
    const dark = 0.3 * red + 0.59 * green + 0.11 * blue > 128;
    return { ink, grid: ink.replace(/^rgb\(([^)]*)\)$/, `rgba($1, ${share})`), dark };
  }

  function onTheme(repaint) {
    const theme = new MutationObserver(repaint);
    theme.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
  }

  // Keeps plotly from reading a text as HTML or as TeX.
  function plain(text) {
    const codes = { "&": "&amp;", "<": "&lt;", ">": "&gt;", "$": "&#36;" };
    return text.replace(/[&<>$]/g, (sign) => codes[sign]);
  }

  // Draws each figure when it comes into view.
  function watch(selector, draw) {
    const begin = () => {
      const seen = new IntersectionObserver((entries) => {
        for (const entry of entries.filter((one) => one.isIntersecting)) {
          seen.unobserve(entry.target);
          // What cannot be drawn keeps its picture.
          draw(entry.target).catch((error) => console.warn(`${selector}: ${error.message}`));
        }
      }, { rootMargin: "400px" });
      document.querySelectorAll(selector).forEach((figure) => seen.observe(figure));
    };
    if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", begin);
    else begin();
  }

  window.spinscapeFigures = { plotly, addStyle, dataOf, plotBox, colours, onTheme, plain, watch };
})();
