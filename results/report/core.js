"use strict";
/* Data, elements, filters, theme and tables: what all other scripts use. */

const DATA = JSON.parse(document.getElementById("data").textContent);
const METHODS = new Map(DATA.methods.map((method) => [method.name, method]));
const BENCHMARKS = new Map(DATA.benchmarks.map((benchmark) => [benchmark.name, benchmark]));
const MOTION = !matchMedia("(prefers-reduced-motion: reduce)").matches;

function element(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

function vector(tag, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/* A number for people: a true minus, no more digits than tell something. */
function number(value, places) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const digits = places ?? (Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 1 ? 2 : 4);
  const text = value.toFixed(digits);
  return (places === undefined && text.includes(".") ? text.replace(/\.?0+$/, "") : text).replace("-", "−");
}

function titleOf(method) {
  return METHODS.get(method)?.title ?? method;
}

/* Attributes that give an element the colour of a method, as --k. */
function colour(method, more) {
  const known = METHODS.get(method)?.color ?? "#777777";
  return { class: `k ${known === "#000000" ? "ink" : ""} ${more ?? ""}`.trim(), style: `--c:${known}` };
}

function swatch(method, dash, shade) {
  const line = vector("line", { x1: 1, x2: 21, y1: 5.5, y2: 5.5, "stroke-dasharray": dash ?? METHODS.get(method)?.dash });
  return vector("svg", { ...colour(method, `swatch ${shade ?? ""}`), viewBox: "0 0 22 11", "aria-hidden": "true" }, line);
}

/* Filters: names that are switched off, by kind. Whoever shows something asks `shown` and draws again when told. */
const OFF = { experiment: new Set(), benchmark: new Set(), method: new Set() };
const LISTENERS = [];

function shown(item) {
  return Object.entries(OFF).every(([kind, names]) => !names.has(item[kind]));
}

function filtersChanged() {
  for (const row of document.querySelectorAll("tbody tr, details[data-experiment]")) {
    row.classList.toggle("gone", !shown(row.dataset));
  }
  for (const listener of LISTENERS) listener();
}

function buildFilters() {
  const form = document.getElementById("filters");
  const kinds = {
    method: DATA.methods.map((method) => method.name),
    benchmark: DATA.benchmarks.map((benchmark) => benchmark.name),
    experiment: DATA.experiments.map((experiment) => experiment.name),
  };
  for (const [kind, names] of Object.entries(kinds)) {
    if (names.length > 1) form.append(filterOf(kind, names));
  }
  form.append(themeButton());
  form.addEventListener("submit", (event) => event.preventDefault());
}

function filterOf(kind, names) {
  const boxes = names.map((name) => element("input", { type: "checkbox", name: kind, value: name, checked: true }));
  const apply = () => {
    OFF[kind] = new Set(boxes.filter((box) => !box.checked).map((box) => box.value));
    all.textContent = OFF[kind].size ? "all" : "none";
    filtersChanged();
  };
  const all = element("button", { type: "button", class: "plain", "aria-label": `${kind}s: all or none` }, "none");
  all.addEventListener("click", () => {
    const on = OFF[kind].size > 0;
    for (const box of boxes) box.checked = on;
    apply();
  });
  const labels = boxes.map((box) => {
    box.addEventListener("change", apply);
    const mark = kind === "method" ? swatch(box.value) : null;
    return element("label", {}, box, mark, kind === "method" ? titleOf(box.value) : box.value);
  });
  const heading = kind[0].toUpperCase() + kind.slice(1) + "s";
  return element("fieldset", {}, element("legend", {}, element("span", {}, heading), all), ...labels);
}

function themeButton() {
  const order = ["auto", "light", "dark"];
  const button = element("button", { type: "button", id: "theme" });
  const apply = (theme) => {
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    button.textContent = `Colours: ${theme}`;
    button.value = theme;
    for (const listener of LISTENERS) listener();
  };
  button.addEventListener("click", () => apply(order[(order.indexOf(button.value) + 1) % order.length]));
  button.textContent = "Colours: auto";
  button.value = "auto";
  return button;
}

/* Tables: a heading's button sorts the rows. */
function sortable(table) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    const button = element("button", { type: "button", title: "Sort by this column" }, ...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const descending = heading.getAttribute("aria-sort") === "ascending";
      for (const other of headings) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const rows = [...table.tBodies[0].rows].map((row) => [sortKey(row.cells[column]), row]);
      rows.sort(([a], [b]) => (descending ? -1 : 1) * compareKeys(a, b));
      table.tBodies[0].append(...rows.map(([, row]) => row));
    });
  });
}

function sortKey(cell) {
  const text = cell.textContent.replace("−", "-");
  const value = Number.parseFloat(text);
  return cell.classList.contains("n") ? (Number.isNaN(value) ? Infinity : value) : text;
}

function compareKeys(a, b) {
  return typeof a === "number" && typeof b === "number" ? a - b || 0 : String(a).localeCompare(String(b));
}

/* The tip beside the pointer, which screen readers read as well. */
const TIP = document.getElementById("tip");

function tip(event, ...content) {
  TIP.replaceChildren(...content);
  TIP.hidden = false;
  const box = TIP.getBoundingClientRect();
  const right = event.clientX + 14 + box.width < innerWidth;
  TIP.style.left = `${Math.max(4, right ? event.clientX + 14 : event.clientX - box.width - 14)}px`;
  TIP.style.top = `${Math.max(4, Math.min(event.clientY + 14, innerHeight - box.height - 4))}px`;
}

function hideTip() {
  TIP.hidden = true;
}

addEventListener("keydown", (event) => event.key === "Escape" && hideTip());
addEventListener("scroll", hideTip, { passive: true });

/* Wide screens show contents and filters beside the text, always open. */
const WIDE = matchMedia("(min-width: 66rem)");
const controls = document.getElementById("controls");
const openControls = () => { controls.open = WIDE.matches; };
WIDE.addEventListener("change", openControls);
openControls();
