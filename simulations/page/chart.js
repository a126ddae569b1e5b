"use strict";
// What the map and the time line share: colours of the page, sharp canvases, numbers, tooltips.
const Chart = {
  css: name => getComputedStyle(document.documentElement).getPropertyValue(name).trim(),
  theme() {
    const names = ["ink", "soft", "line", "card", "accent", "sea", "sea-edge", "paper"];
    return Object.fromEntries(names.map(name => [name, Chart.css("--" + name)]));
  },
  palette: () => [0, 1, 2, 3, 4, 5, 6, 7].map(at => Chart.css("--c" + at)),
  data: id => { const found = document.getElementById(id); return found ? JSON.parse(found.textContent) : null; },
  // Fits the canvas to its box and the screen's pixels; gives a context that draws in CSS pixels.
  fit(canvas, height) {
    const ratio = window.devicePixelRatio || 1, width = canvas.clientWidth;
    canvas.style.height = height + "px";
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.font = "12px system-ui, sans-serif";
    return context;
  },
  number(value) {
    if (value === null || Number.isNaN(value)) return "–";
    if (Number.isInteger(value) || Math.abs(value) >= 1000) return Math.round(value).toLocaleString("en");
    return String(Number(value.toPrecision(4)));
  },
  bytes(value) {
    for (const [size, unit] of [[1e9, "GB"], [1e6, "MB"], [1e3, "kB"]]) {
      if (value >= size) return Number((value / size).toPrecision(3)) + " " + unit;
    }
    return value + " B";
  },
  // Fills a tooltip from texts only: nothing in it is ever read as HTML.
  tip(box, stage, x, y, title, rows) {
    box.replaceChildren();
    const head = document.createElement("b");
    head.textContent = title;
    box.append(head);
    for (const [name, value, colour] of rows) {
      const line = document.createElement("span"), label = document.createElement("em");
      label.textContent = name;
      if (colour) { label.style.borderLeft = "3px solid " + colour; label.style.paddingLeft = "6px"; }
      const text = document.createElement("span");
      text.textContent = value;
      line.append(label, text);
      box.append(line);
    }
    box.style.display = "block";
    const left = x + 18 + box.offsetWidth > stage.clientWidth ? x - 18 - box.offsetWidth : x + 18;
    box.style.left = Math.max(0, left) + "px";
    box.style.top = Math.max(0, Math.min(y - 10, stage.clientHeight - box.offsetHeight)) + "px";
  },
  hide: box => { box.style.display = "none"; },
  // Draws again when the window or the colour scheme changes.
  whenever(draw) {
    let waiting = 0;
    const soon = () => { cancelAnimationFrame(waiting); waiting = requestAnimationFrame(draw); };
    window.addEventListener("resize", soon);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", soon);
    window.addEventListener("beforeprint", draw);
    window.addEventListener("afterprint", soon);
    return soon;
  },
};
