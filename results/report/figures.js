"use strict";
/* The figures of the page: which charts there are, from which rows, under which filters. */

const SCORE = { return: "return", success: "success (%)" };

function grouped(rows, ...names) {
  const groups = new Map();
  for (const row of rows) {
    const key = JSON.stringify(names.map((name) => row[name]));
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(row);
  }
  return [...groups.values()];
}

function caption(row, several = DATA.experiments.length > 1) {
  return element("figcaption", {}, element("b", {}, row.benchmark), several ? element("small", {}, ` ${row.experiment}`) : null);
}

/* A figure whose chart is drawn when it comes into view, and again when its width or a filter changes. */
function figure(head, draw, { wide = false, data = null } = {}) {
  const host = element("div"), node = element("figure", { class: wide ? "wide" : null }, head, host);
  if (data) node.append(dataTable(data));
  let width = 0, waiting = true;
  const again = () => {
    width = host.clientWidth;
    if (width) { draw(host); waiting = false; }
  };
  new ResizeObserver(() => Math.abs(host.clientWidth - width) > 2 && again()).observe(host);
  node.redraw = again;
  node.ensure = () => waiting && again();
  return node;
}

/* The numbers behind a figure, as a table that is written when it is opened. */
function dataTable(data) {
  const details = element("details", { class: "data" }, element("summary", {}, "Data"));
  details.addEventListener("toggle", () => {
    if (details.childElementCount > 1) return;
    const [columns, rows] = data();
    const head = element("tr", {}, ...columns.map((name, n) => element("th", { scope: "col", class: n ? "n" : null }, name)));
    const body = rows.map((row) => element("tr", {}, ...row.map((cell, n) => (n ? element("td", { class: "n" }, cell) : element("th", { scope: "row" }, cell)))));
    const table = element("table", {}, element("thead", {}, head), element("tbody", {}, ...body));
    details.append(element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Data of the figure" }, table));
  });
  return details;
}

/* Fill a section's grid: `groups` of rows, each a figure while any of its rows is shown. */
function gallery(name, groups, make) {
  const grid = document.querySelector(`[data-figure="${name}"]`);
  const made = groups.map((rows) => ({ rows, node: null }));
  const update = () => {
    const nodes = [];
    for (const entry of made) {
      const rows = entry.rows.filter(shown);
      if (!rows.length) continue;
      entry.node = make(rows, entry.rows);
      nodes.push(entry.node);
    }
    grid.classList.toggle("empty", !nodes.length);
    grid.replaceChildren(...(nodes.length ? nodes : [element("p", { class: "none" }, groups.length ? "Everything here is filtered out." : "Nothing was measured for this.")]));
  };
  LISTENERS.push(update);
  return update;
}

const byMethod = (a, b) => [...METHODS.keys()].indexOf(a.method) - [...METHODS.keys()].indexOf(b.method);
const SWEPT = new Set(DATA.experiments.filter((experiment) => experiment.swept).map((experiment) => experiment.name));
const plain = DATA.standings.filter((row) => !SWEPT.has(row.experiment));

function aboutRow(row) {
  const room = row.headroom === null || row.headroom === undefined ? [] : [`headroom ${number(row.headroom, 2)}`];
  return [
    `${SCORE[row.metric]} ${number(row.mean, 1)}`,
    row.low_95 === null ? "no interval" : `95 %: ${number(row.low_95, 1)} to ${number(row.high_95, 1)}`,
    ...(row.share === null ? [] : [`${number(100 * row.share, 1)} % of the experts`]),
    ...room,
    `${row.splits} splits, ${row.specs} specs, ${row.episodes} episodes`,
  ];
}

function expertOf(rows) {
  return rows.find((row) => row.method === "expert")?.mean ?? null;
}

function standingFigure(rows, all) {
  const learners = rows.filter((row) => row.method !== "expert").sort((a, b) => b.mean - a.mean);
  const label = `${rows[0].benchmark}: ${SCORE[rows[0].metric]} by method`;
  const reference = shown({ method: "expert" }) ? expertOf(all) : null;
  const drawn = (learners.length ? learners : rows).map((row) => ({ ...row, value: row.mean, low: row.low_95, high: row.high_95 }));
  return figure(caption(rows[0]), (host) => rowChart(host, { x: { label: SCORE[rows[0].metric] }, rows: drawn, reference, label, about: aboutRow }));
}

function distributionFigure(rows) {
  const drawn = rows.filter((row) => row.in_mean !== null || row.out_mean !== null).map((row) => ({ ...row, value: row.in_mean, open: row.out_mean }));
  const about = (row) => [`in distribution ${number(row.in_mean, 1)}`, `out of it ${number(row.out_mean, 1)}`];
  const label = `${rows[0].benchmark}: ${SCORE[rows[0].metric]} in and out of distribution, by method`;
  return figure(caption(rows[0]), (host) => rowChart(host, { x: { label: SCORE[rows[0].metric] }, rows: drawn, label, about }));
}

function trainedOf(row) {
  return DATA.trained.filter((entry) => entry.experiment === row.experiment && entry.benchmark === row.benchmark);
}

/* Test specs of a series: [coordinates, mean, low, high]. */
function testPoints(line) {
  return line.points.filter((point) => point[1] === "test").map(([spec, , mean, deviation]) => [spec, mean, deviation === null ? null : mean - deviation, deviation === null ? null : mean + deviation]);
}

function specFigures(rows) {
  const benchmark = BENCHMARKS.get(rows[0].benchmark);
  return rows[0].points[0][0].length > 1 ? specMaps(rows, benchmark) : specLines(rows, benchmark);
}

function specLines(rows, benchmark) {
  const score = SCORE[benchmark.score];
  const x = { label: benchmark.variables[0]?.label ?? benchmark.name };
  const everywhere = [...new Set(rows.flatMap((line) => line.points.map((point) => point[0][0])))].sort((a, b) => a - b);
  const series = rows.sort(byMethod).map((line) => {
    const known = new Map(testPoints(line).map((point) => [point[0][0], point]));
    return { ...line, points: everywhere.map((at) => (known.has(at) ? [at, ...known.get(at).slice(1)] : [at, null, null, null])) };
  });
  const all = series.flatMap((line) => line.points.map((point) => point[1])).filter((value) => value !== null);
  const top = benchmark.score === "success" ? 100 : Math.max(1000, ...all);
  const draw = (host) => lineChart(host, { x: { ...x }, y: { label: score, domain: [Math.min(0, ...all), top] }, series, marks: trainedOf(rows[0]).map((entry) => entry.specs.map((spec) => spec[0])), label: `${benchmark.name}: ${score} against ${x.label}`, height: 290 });
  const data = () => [[x.label, ...series.map(nameOf)], everywhere.map((at, n) => [number(at), ...series.map((line) => number(line.points[n][1], 1))])];
  const node = figure(caption(rows[0]), draw, { data });
  node.insertBefore(legend(series), node.lastChild);
  return node;
}

/* Names under a chart; pointing at one brings its line and its band out. */
function legend(series) {
  const entries = series.map((line) => {
    const entry = element("span", { tabindex: series.length > 1 ? 0 : null }, swatch(line.method, line.dash, line.shade), nameOf(line));
    const focus = (on) => () => {
      for (const group of entry.closest("figure").querySelectorAll("g[data-method]")) {
        const own = group.dataset.line === nameOf(line);
        group.classList.toggle("faded", on && !own);
        for (const band of group.querySelectorAll(".band")) band.setAttribute("visibility", own && on ? "visible" : series.length > 4 ? "hidden" : "visible");
      }
    };
    for (const name of ["pointerenter", "focus"]) entry.addEventListener(name, focus(true));
    for (const name of ["pointerleave", "blur"]) entry.addEventListener(name, focus(false));
    return entry;
  });
  return element("div", { class: "legend" }, ...entries);
}

function specMaps(rows, benchmark) {
  const marked = new Set(trainedOf(rows[0]).flatMap((entry) => entry.specs.map((spec) => JSON.stringify(spec))));
  const values = rows.flatMap((line) => testPoints(line).map((point) => point[1]));
  const domain = benchmark.score === "success" ? [0, 100] : [Math.min(...values), Math.max(...values)];
  const [x, y] = benchmark.variables;
  const maps = rows.sort(byMethod).map((line) => {
    const cells = testPoints(line).map(([spec, mean, low]) => [spec[0], spec[1], mean, low === null ? null : mean - low]);
    const head = element("figcaption", {}, element("b", {}, nameOf(line)));
    const label = `${benchmark.name}, ${nameOf(line)}: ${SCORE[benchmark.score]} over ${x.label} and ${y.label}`;
    return figure(head, (host) => mapChart(host, { x, y, cells, domain, label, trained: (cell) => marked.has(JSON.stringify([cell[0], cell[1]])) }));
  });
  const bar = VIRIDIS.map((c, n) => `${c} ${(100 * n) / (VIRIDIS.length - 1)}%`).join(", ");
  const scale = element("div", { class: "legend" }, element("span", {}, number(domain[0], 0), element("i", { style: `display:inline-block;width:8rem;height:.7rem;background:linear-gradient(90deg, ${bar})` }), number(domain[1], 0), ` ${SCORE[benchmark.score]}`));
  return element("figure", { class: "wide" }, caption(rows[0]), scale, element("div", { class: "grid" }, ...maps));
}

/* An ablation: one figure per experiment and benchmark, a line per method over the values of the grid. */
function ablationFigure(rows) {
  const swept = rows.filter((row) => Object.keys(row.cell).length);
  const names = [...new Set(swept.flatMap((row) => Object.keys(row.cell)))];
  const numeric = names.length === 1 && swept.every((row) => typeof row.cell[names[0]] === "number");
  const label = `${rows[0].benchmark}: ${SCORE[rows[0].metric]} against ${names.join(", ")}`;
  const reference = expertOf(rows);
  if (!numeric) {
    const drawn = swept.map((row) => ({ ...row, value: row.mean, low: row.low_95, high: row.high_95 }));
    return figure(caption(rows[0]), (host) => rowChart(host, { x: { label: SCORE[rows[0].metric] }, rows: drawn, reference, label, about: aboutRow }));
  }
  const series = grouped(swept, "method").map((of) => ({ method: of[0].method, points: of.map((row) => [row.cell[names[0]], row.mean, row.low_95, row.high_95]).sort((a, b) => a[0] - b[0]) }));
  for (const line of [...series]) {
    const theirs = DATA.paper.filter((row) => row.benchmark === rows[0].benchmark && row.method === line.method && row.metric === rows[0].metric && row.setting.startsWith(`${names[0]}=`));
    if (theirs.length) series.push({ method: "paper", label: `the paper’s ${titleOf(line.method)}`, dash: "2 3", points: theirs.map((row) => [Number(row.setting.split("=")[1]), row.value, null, null]).sort((a, b) => a[0] - b[0]) });
  }
  const values = series.flatMap((line) => line.points.map((point) => point[0]));
  const log = Math.min(...values) > 0 && Math.max(...values) / Math.min(...values) > 8;
  const all = series.flatMap((line) => line.points.flatMap((point) => point.slice(1))).filter((value) => value !== null);
  const draw = (host) => lineChart(host, { x: { label: names[0], log }, y: { label: SCORE[rows[0].metric], domain: padded([Math.min(...all), Math.max(...all)], 0.08) }, series, label, height: 270 });
  const data = () => [[names[0], ...series.map(nameOf)], [...new Set(values)].sort((a, b) => a - b).map((at) => [number(at), ...series.map((line) => number(line.points.find((p) => p[0] === at)?.[1], 1))])];
  const node = figure(caption(rows[0]), draw, { data });
  node.insertBefore(legend(series), node.lastChild);
  return node;
}

METHODS.set("paper", { name: "paper", title: "", color: "#777777", dash: "2 3" });

function trainingFigure(rows) {
  const expert = rows[0].method === "expert";
  const positive = rows.every((line) => line.points.every((point) => point[1] > 0));
  const x = { label: expert ? "updates of the experts" : "epochs" };
  const metric = rows[0].metric, series = shaded(rows.sort(byMethod));
  const draw = (host) => lineChart(host, { x: { ...x }, y: { label: metric, log: positive && !SCORE[metric] }, series, label: `${rows[0].benchmark}: ${metric} against ${x.label}` });
  const node = figure(caption(rows[0]), draw);
  node.append(legend(series));
  return node;
}

/* Lines of one method in an order of their own, told apart by how dark they are. */
function shaded(series) {
  for (const lines of grouped(series, "method")) {
    lines.sort((a, b) => a.label.localeCompare(b.label, "en", { numeric: true }));
    lines.forEach((line, n) => { line.shade = lines.length > 1 ? `shade-${Math.round((4 * n) / (lines.length - 1))}` : ""; });
  }
  return grouped(series, "method").flatMap((lines) => lines.sort((a, b) => a.label.localeCompare(b.label, "en", { numeric: true })));
}

let metricIs = "loss";

function buildTraining() {
  const metrics = [...new Set(DATA.curves.map((line) => line.metric))].sort((a, b) => ["return", "success", "loss"].indexOf(b) - ["return", "success", "loss"].indexOf(a) || a.localeCompare(b));
  if (!metrics.includes(metricIs)) metricIs = metrics[0] ?? "loss";
  const groups = grouped(DATA.curves.map((line) => ({ ...line, own: line.method === "expert" })), "experiment", "benchmark", "metric", "own");
  const update = gallery("training", groups, (rows) => trainingFigure(rows));
  const grid = document.querySelector('[data-figure="training"]');
  const choose = () => {
    [...grid.children].forEach((node) => node.classList.remove("gone"));
    const visible = groups.filter((rows) => rows.some(shown));
    [...grid.children].forEach((node, n) => node.tagName === "FIGURE" && node.classList.toggle("gone", visible[n][0].metric !== metricIs));
    for (const button of document.querySelectorAll("#metrics button")) button.setAttribute("aria-pressed", button.value === metricIs);
  };
  const names = { td: "temporal difference", kl: "divergence" };
  document.getElementById("metrics").append(...(metrics.length > 1 ? metrics : []).map((name) => {
    const button = element("button", { type: "button", value: name }, names[name] ?? name);
    button.addEventListener("click", () => { metricIs = name; update(); choose(); });
    return button;
  }));
  LISTENERS.push(choose);
  update();
  choose();
}

function computeFigure(rows, all) {
  const points = rows.map((row) => ({ ...row, x: row.seconds / 60, value: row.mean, low: row.low_95, high: row.high_95 }));
  const label = `${rows[0].benchmark}: ${SCORE[rows[0].metric]} against minutes of one training`;
  const about = (row) => [...aboutRow(row).slice(0, 2), `${number(row.x, 1)} minutes on ${row.device}`, row.parameters ? `${number(row.parameters / 1e6, 2)} M parameters` : ""];
  return figure(caption(rows[0]), (host) => pointChart(host, { x: { label: "minutes of one training", log: true }, y: { label: SCORE[rows[0].metric] }, points, label, about }));
}

function buildFigures() {
  const updates = [
    gallery("leaderboard", grouped(plain, "experiment", "benchmark"), standingFigure),
    gallery("specs", grouped(DATA.specs.filter((line) => !SWEPT.has(line.experiment)), "experiment", "benchmark"), specFigures),
    gallery("distribution", grouped(plain.filter((row) => row.in_mean !== null || row.out_mean !== null), "experiment", "benchmark"), distributionFigure),
    gallery("ablations", grouped(DATA.standings.filter((row) => SWEPT.has(row.experiment)), "experiment", "benchmark"), ablationFigure),
    gallery("compute", grouped(DATA.standings.filter((row) => row.seconds), "experiment", "benchmark"), computeFigure),
  ];
  for (const update of updates) update();
  buildTraining();
}
