// Figures that scroll on narrow screens can be reached with the keyboard, and say what they show.
"use strict";

(() => {
  // The figure's number, and the words of its picture up to their first full stop.
  function nameOf(figure) {
    const number = figure.querySelector(".caption-number")?.textContent.trim() ?? "Figure";
    const words = figure.querySelector("img")?.alt || figure.querySelector(".caption-text")?.textContent || "";
    return `${number}: ${words.trim().split(/(?<=\.)\s/)[0]}`;
  }

  function reach(figure) {
    if (figure.scrollWidth > figure.clientWidth) {
      figure.tabIndex = 0;
      figure.setAttribute("role", "region");
      figure.setAttribute("aria-label", nameOf(figure));
    } else {
      for (const name of ["tabindex", "role", "aria-label"]) figure.removeAttribute(name);
    }
  }

  const reachAll = () => document.querySelectorAll("figure.wide").forEach(reach);
  window.addEventListener("load", reachAll);
  window.addEventListener("resize", reachAll);
})();
