"use strict";
/* Charts as SVG, drawn at the width they have: lines with bands, rows with whiskers, maps, points. */

function extent(values, fallback = [0, 1]) {
  const known = values.filter((value) => Number.isFinite(value));
  return known.length ? [Math.min(...known), Math.max(...known)] : fallback;
}

/* A scale from data to pixels, with ticks at round numbers; logarithmic where `log`. */
function scaleOf([low, high], [from, to], { log = false, ticks = 5 } = {}) {
  if (low === high) [low, high] = log ? [low / 2, high * 2] : [low - 0.5, high + 0.5];
  const value = log ? Math.log10 : (x) => x;
  const scale = (x) => from + ((value(x) - value(low)) / (value(high) - value(low))) * (to - from);
  scale.domain = [low, high];
  scale.ticks = log ? logTicks(low, high) : roundTicks(low, high, ticks);
  return scale;
}

function roundTicks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].find((factor) => factor * power >= rough) * power;
  const ticks = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high + step * 1e-9; n++) ticks.push(Number((n * step).toPrecision(12)));
  return ticks;
}

function logTicks(low, high) {
  const found = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
    for (const factor of [1, 2, 5]) found.push(factor * 10 ** power);
  }
  const inside = found.filter((tick) => tick >= low * 0.999 && tick <= high * 1.001);
  const decades = inside.filter((tick) => Number.isInteger(Math.log10(tick)) || Math.abs(Math.log10(tick) % 1) < 1e-9);
  return inside.length > 7 && decades.length > 1 ? decades : inside.slice(0, 8);
}

function padded([low, high], share) {
  const room = (high - low || Math.abs(high) || 1) * share;
  return [low - room, high + room];
}

/* An empty chart with axes: the drawing surface, and both scales. */
function frame(host, { width, height, left, x, y, label }) {
  const margin = { left, right: 12, top: y.label ? 26 : 10, bottom: x.label ? 38 : 22 };
  const sx = scaleOf(x.domain, [margin.left, width - margin.right], { log: x.log, ticks: Math.max(3, Math.round(width / 85)) });
  const sy = scaleOf(y.domain, [height - margin.bottom, margin.top], { log: y.log, ticks: Math.max(2, Math.round(height / 55)) });
  const svg = vector("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": label, tabindex: 0 });
  const bottom = height - margin.bottom;
  for (const tick of y.hidden ? [] : sy.ticks) {
    svg.append(
      vector("line", { class: "gridline", x1: margin.left, x2: width - margin.right, y1: sy(tick), y2: sy(tick) }),
      vector("text", { x: margin.left - 6, y: sy(tick) + 4, "text-anchor": "end" }, number(tick)),
    );
  }
  for (const tick of sx.ticks) {
    svg.append(
      vector("line", { class: "frame", x1: sx(tick), x2: sx(tick), y1: bottom, y2: bottom + 4 }),
      vector("text", { x: sx(tick), y: bottom + 16, "text-anchor": "middle" }, number(tick)),
    );
  }
  svg.append(vector("line", { class: "frame", x1: margin.left, x2: width - margin.right, y1: bottom, y2: bottom }));
  if (y.label) svg.append(vector("text", { class: "axis-title", x: 0, y: 12 }, y.label));
  if (x.label) {
    const middle = (margin.left + width - margin.right) / 2;
    svg.append(vector("text", { class: "axis-title", x: middle, y: height - 4, "text-anchor": "middle" }, x.label));
  }
  host.replaceChildren(svg);
  return { svg, sx, sy, margin, bottom };
}

/* Lines: series of {method, label, points: [[x, mean, low, high]]}, gaps where a mean is null. */
function lineChart(host, { x, y, series, marks = [], label, height = 250, bands = true, cursor = null, onpick = null }) {
  const width = Math.max(260, Math.floor(host.clientWidth || 400));
  const all = series.flatMap((line) => line.points);
  x.domain ??= padded(extent(all.map((point) => point[0])), x.log ? 0 : 0.02);
  y.domain ??= extent(all.flatMap((point) => (bands ? [point[1], point[2], point[3]] : [point[1]])));
  const { svg, sx, sy, margin, bottom } = frame(host, { width, height, left: 44, x, y, label });
  const clip = (value) => Math.max(margin.top - 2, Math.min(bottom, sy(Math.max(value, y.log ? y.domain[0] : -Infinity))));
  const muddled = series.length > 4;
  for (const line of bands ? series : []) {
    const group = vector("g", { ...colour(line.method, line.shade), "data-method": line.method, "data-line": nameOf(line) });
    for (const part of unbroken(line.points, 2)) {
      const outline = [...part.map((p) => [sx(p[0]), clip(p[3])]), ...part.reverse().map((p) => [sx(p[0]), clip(p[2])])];
      group.append(vector("path", { class: "band", d: path(outline) + "Z", visibility: muddled ? "hidden" : null }));
    }
    svg.append(group);
  }
  for (const line of series) {
    const group = vector("g", { ...colour(line.method, line.shade), "data-method": line.method, "data-line": nameOf(line) });
    for (const part of unbroken(line.points, 1)) {
      group.append(vector("path", { class: "line", "stroke-dasharray": line.dash ?? METHODS.get(line.method)?.dash, d: path(part.map((p) => [sx(p[0]), clip(p[1])])) }));
      if (line.points.length < 12) group.append(...part.map((p) => vector("circle", { class: "dot", cx: sx(p[0]), cy: clip(p[1]), r: 2.8 })));
      else if (part.length === 1) group.append(vector("circle", { class: "dot", cx: sx(part[0][0]), cy: clip(part[0][1]), r: 2.6 }));
    }
    svg.append(group);
  }
  marks.forEach((row, level) => {
    for (const at of row) svg.append(vector("line", { class: "mark", x1: sx(at), x2: sx(at), y1: bottom - 2 - level * 7, y2: bottom - 7 - level * 7 }));
  });
  if (cursor !== null) svg.append(vector("line", { class: "reference", x1: sx(cursor), x2: sx(cursor), y1: margin.top, y2: bottom }));
  explore(svg, { sx, sy: clip, margin, bottom, width, series, x, onpick });
}

/* Stretches of points that have all numbers from `column` on. */
function unbroken(points, column) {
  const parts = [];
  let part = [];
  for (const point of points) {
    if (point[1] === null || (column === 2 && (point[2] === null || point[3] === null))) {
      if (part.length) parts.push(part);
      part = [];
    } else part.push(point);
  }
  return part.length ? [...parts, part] : parts;
}

function path(points) {
  return points.map(([x, y], n) => `${n ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");
}

/* Pointer and arrow keys over a line chart: a guide at the nearest x, and what every line has there. */
function explore(svg, { sx, sy, margin, bottom, width, series, x, onpick }) {
  const xs = [...new Set(series.flatMap((line) => line.points.map((point) => point[0])))].sort((a, b) => a - b);
  const guide = vector("line", { class: "guide", y1: margin.top, y2: bottom, visibility: "hidden" });
  const dots = vector("g");
  svg.append(guide, dots);
  let at = -1;
  const show = (n, event) => {
    at = n;
    const here = xs[n];
    guide.setAttribute("visibility", "visible");
    guide.setAttribute("x1", sx(here));
    guide.setAttribute("x2", sx(here));
    const found = series
      .map((line) => [line, line.points.find((point) => point[0] === here)])
      .filter(([, point]) => point && point[1] !== null)
      .sort((a, b) => b[1][1] - a[1][1]);
    dots.replaceChildren(...found.map(([line, point]) => vector("circle", { ...colour(line.method, "dot"), cx: sx(here), cy: sy(point[1]), r: 3.4 })));
    const rows = found.map(([line, point]) => element("tr", {}, element("td", {}, swatch(line.method, line.dash, line.shade)), element("td", {}, nameOf(line)), element("td", {}, number(point[1], Math.abs(point[1]) < 10 ? 3 : 1))));
    const heading = element("div", {}, `${x.label ?? ""} ${number(here)}`.trim());
    tip(event, heading, element("table", {}, element("tbody", {}, ...rows)));
  };
  const leave = () => {
    at = -1;
    guide.setAttribute("visibility", "hidden");
    dots.replaceChildren();
    hideTip();
  };
  const nearest = (event) => {
    const box = svg.getBoundingClientRect();
    const pixel = ((event.clientX - box.left) / box.width) * width;
    return xs.reduce((best, value, n) => (Math.abs(sx(value) - pixel) < Math.abs(sx(xs[best]) - pixel) ? n : best), 0);
  };
  if (!xs.length) return;
  svg.addEventListener("pointermove", (event) => show(nearest(event), event));
  svg.addEventListener("pointerleave", leave);
  svg.addEventListener("blur", leave);
  if (onpick) svg.addEventListener("click", (event) => onpick(xs[nearest(event)]));
  svg.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    const next = Math.max(0, Math.min(xs.length - 1, at + step));
    const box = svg.getBoundingClientRect();
    show(next, { clientX: box.left + (sx(xs[next]) / width) * box.width, clientY: box.top + box.height / 3 });
    if (onpick) onpick(xs[next]);
  });
}

function nameOf(line) {
  return [titleOf(line.method), line.label].filter(Boolean).join(", ");
}

/* Rows: {method, label, value, low, high, open (a second number)}; `reference`: a line through all rows. */
function rowChart(host, { x, rows, reference = null, label, about = () => [] }) {
  const width = Math.max(260, Math.floor(host.clientWidth || 400));
  const names = rows.map((row) => nameOf(row));
  const wanted = 14 + 6.7 * Math.max(...names.map((name) => name.length));
  const above = wanted > width * 0.45, left = above ? 8 : wanted; // names that are too long stand above their rows
  const step = above ? 38 : 24, height = rows.length * step + 50;
  x.domain ??= padded(extent(rows.flatMap((row) => [row.value, row.low, row.high, row.open, reference])), 0.04);
  const y = { domain: [rows.length, 0], hidden: true };
  const { svg, sx, margin, bottom } = frame(host, { width, height, left, x, y, label });
  for (const tick of sx.ticks) svg.append(vector("line", { class: "gridline", x1: sx(tick), x2: sx(tick), y1: margin.top, y2: bottom }));
  if (reference !== null) svg.append(vector("line", { class: "reference", x1: sx(reference), x2: sx(reference), y1: margin.top, y2: bottom }));
  rows.forEach((row, n) => {
    const at = margin.top + (n + (above ? 0.72 : 0.5)) * step;
    const group = vector("g", { ...colour(row.method), "data-method": row.method });
    group.append(vector("rect", { x: 0, y: margin.top + n * step, width, height: step, fill: "transparent" }));
    const place = above ? { x: left, y: at - 12 } : { x: left - 8, y: at + 4, "text-anchor": "end" };
    group.append(vector("text", { class: "row-name", ...place }, names[n]));
    const ends = row.open !== undefined ? [row.value, row.open] : [row.low, row.high];
    if (ends.every((end) => end !== null)) group.append(vector("line", { class: "whisker", x1: sx(ends[0]), x2: sx(ends[1]), y1: at, y2: at }));
    if (row.open !== undefined && row.open !== null) group.append(vector("circle", { class: "dot open", cx: sx(row.open), cy: at, r: 4.2 }));
    if (row.value !== null) group.append(vector("circle", { class: "dot", cx: sx(row.value), cy: at, r: 4.4 }));
    group.addEventListener("pointermove", (event) => tip(event, element("b", {}, names[n]), ...about(row).map((line) => element("div", {}, line))));
    group.addEventListener("pointerleave", hideTip);
    svg.append(group);
  });
}

/* Viridis, at eight places. */
const VIRIDIS = ["#440154", "#46327e", "#365c8d", "#277f8e", "#1fa187", "#4ac16d", "#a0da39", "#fde725"];

function viridis(share) {
  const at = Math.max(0, Math.min(1, share)) * (VIRIDIS.length - 1);
  const n = Math.min(VIRIDIS.length - 2, Math.floor(at));
  const channels = [1, 3, 5].map((k) => {
    const [a, b] = [VIRIDIS[n], VIRIDIS[n + 1]].map((text) => parseInt(text.slice(k, k + 2), 16));
    return Math.round(a + (b - a) * (at - n));
  });
  return `rgb(${channels.join(" ")})`;
}

/* A map over two coordinates: cells [x, y, mean, deviation], a dot where `trained` says so. */
function mapChart(host, { x, y, cells, trained, domain, label }) {
  const width = Math.max(260, Math.floor(host.clientWidth || 400)), left = 44, top = 20, bottom = 38;
  const xs = [...new Set(cells.map((cell) => cell[0]))].sort((a, b) => a - b);
  const ys = [...new Set(cells.map((cell) => cell[1]))].sort((a, b) => b - a);
  const wide = (width - left - 8) / xs.length, high = Math.max(12, Math.min(22, 190 / ys.length));
  const height = top + high * ys.length + bottom;
  const svg = vector("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": label });
  const every = (count, room) => Math.max(1, Math.ceil(count / room));
  xs.forEach((value, n) => n % every(xs.length, width / 42) || svg.append(vector("text", { x: left + (n + 0.5) * wide, y: height - bottom + 15, "text-anchor": "middle" }, number(value))));
  ys.forEach((value, n) => n % every(ys.length, (ys.length * high) / 15) || svg.append(vector("text", { x: left - 6, y: top + (n + 0.5) * high + 4, "text-anchor": "end" }, number(value))));
  svg.append(vector("text", { class: "axis-title", x: left, y: 12 }, y.label));
  svg.append(vector("text", { class: "axis-title", x: (left + width) / 2, y: height - 4, "text-anchor": "middle" }, x.label));
  for (const cell of cells) {
    const at = [left + xs.indexOf(cell[0]) * wide, top + ys.indexOf(cell[1]) * high];
    const share = (cell[2] - domain[0]) / (domain[1] - domain[0]);
    const box = vector("rect", { class: "cell", x: at[0], y: at[1], width: wide - 1, height: high - 1, fill: viridis(share) });
    box.addEventListener("pointermove", (event) => tip(event, element("div", {}, `${number(cell[0])}, ${number(cell[1])}`), element("b", {}, number(cell[2], 1)), ` ± ${number(cell[3], 1)}`));
    box.addEventListener("pointerleave", hideTip);
    svg.append(box);
    if (trained(cell)) svg.append(vector("circle", { cx: at[0] + wide / 2, cy: at[1] + high / 2, r: 1.8, fill: share > 0.6 ? "#000" : "#fff", "pointer-events": "none" }));
  }
  host.replaceChildren(svg);
}

/* Points with whiskers and names: {method, label, x, value, low, high}. */
function pointChart(host, { x, y, points, label, about, reference = null, height = 280 }) {
  const width = Math.max(260, Math.floor(host.clientWidth || 400));
  x.domain ??= x.log ? extent(points.map((p) => p.x)).map((v, n) => v * (n ? 1.6 : 1 / 1.6)) : padded(extent(points.map((p) => p.x)), 0.1);
  y.domain ??= padded(extent(points.flatMap((p) => [p.low ?? p.value, p.high ?? p.value, reference ?? p.value])), 0.06);
  const { svg, sx, sy, margin } = frame(host, { width, height, left: 44, x, y, label });
  if (reference !== null) svg.append(vector("line", { class: "reference", x1: margin.left, x2: width - margin.right, y1: sy(reference), y2: sy(reference) }));
  const boxes = points.map((point) => [sx(point.x) - 6, sy(point.value) - 6, 12, 12]);
  const labels = vector("g");
  for (const point of points) {
    const group = vector("g", { ...colour(point.method), "data-method": point.method });
    if (point.low !== null && point.high !== null) group.append(vector("line", { class: "whisker", x1: sx(point.x), x2: sx(point.x), y1: sy(point.low), y2: sy(point.high) }));
    group.append(vector("circle", { class: "dot", cx: sx(point.x), cy: sy(point.value), r: 4.6 }));
    const name = nameOf(point), text = new Set(points.map((p) => p.method)).size > 1 ? name : point.label || name;
    const place = freePlace(boxes, sx(point.x), sy(point.value), text.length * 6.3, width, margin.left);
    if (place) labels.append(vector("text", { class: "row-name", ...place }, text));
    group.addEventListener("pointermove", (event) => tip(event, element("b", {}, name), ...about(point).map((line) => element("div", {}, line))));
    group.addEventListener("pointerleave", hideTip);
    svg.append(group);
  }
  svg.append(labels);
}

/* Where a name beside a point meets no other name or point; nothing where it would: the tip still has it. */
function freePlace(boxes, x, y, wide, width, left) {
  for (const [dx, dy, anchor] of [[9, 4, "start"], [-9, 4, "end"], [9, -9, "start"], [-9, -9, "end"], [9, 17, "start"], [-9, 17, "end"]]) {
    const box = [anchor === "start" ? x + dx : x + dx - wide, y + dy - 10, wide, 12];
    const inside = box[0] >= left && box[0] + wide <= width;
    const free = boxes.every(([bx, by, bw, bh]) => box[0] > bx + bw || bx > box[0] + wide || box[1] > by + bh || by > box[1] + 12);
    if (inside && free) {
      boxes.push(box);
      return { x: x + dx, y: y + dy, "text-anchor": anchor };
    }
  }
  return null;
}
