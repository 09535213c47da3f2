"use strict";
/* The spec slider that plays: robots drawn from joint positions, methods side by side, the expert as a ghost. */

/* Numbers of a packed run: positions [film, frame, joint] and rewards [film, frame], decoded when first asked for. */
function unpacked(run, joints) {
  if (!run.decoded) {
    const bytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    run.decoded = { positions: new Uint16Array(bytes(run.positions).buffer), rewards: bytes(run.rewards), joints };
  }
  return run.decoded;
}

/* Joint positions at a time between two frames. */
function positionsAt(run, film, joints, time) {
  const { positions } = unpacked(run, joints);
  const frame = Math.min(Math.floor(time), run.frames - 1), next = Math.min(frame + 1, run.frames - 1), share = Math.min(1, time - frame);
  const at = (n, joint) => run.low[joint] + run.scale[joint] * positions[(film * run.frames + n) * joints + joint];
  return Array.from({ length: joints }, (_, joint) => at(frame, joint) * (1 - share) + at(next, joint) * share);
}

/* Capsules [x, z, x, z, radius, depth] of a skeleton at joint positions, in the world. A turn takes z towards x. */
function posed(skeleton, positions) {
  const turn = (angle, x, z) => [x * Math.cos(angle) + z * Math.sin(angle), z * Math.cos(angle) - x * Math.sin(angle)];
  const frames = [], shapes = [];
  for (const body of skeleton.bodies) {
    const parent = body.parent < 0 ? { x: 0, z: 0, angle: 0 } : frames[body.parent];
    const moved = turn(parent.angle, ...body.at);
    let x = parent.x + moved[0], z = parent.z + moved[1], angle = parent.angle + body.angle;
    for (const [kind, address, rest, jx, jz] of body.joints) {
      const by = positions[address] - rest;
      if (kind === "slide") {
        const along = turn(angle, jx * by, jz * by);
        x += along[0];
        z += along[1];
        continue;
      }
      const before = turn(angle, jx, jz);
      angle += kind === "hinge" ? by : -by;
      const after = turn(angle, jx, jz);
      x += before[0] - after[0];
      z += before[1] - after[1];
    }
    frames.push({ x, z, angle });
    for (const [x1, z1, x2, z2, radius, depth] of body.shapes) {
      const [a, b] = [turn(angle, x1, z1), turn(angle, x2, z2)];
      shapes.push([x + a[0], z + a[1], x + b[0], z + b[1], radius, depth]);
    }
  }
  return shapes;
}

class Player {
  constructor(host) {
    this.host = host;
    this.entries = DATA.films;
    this.entry = this.entries[0];
    this.spec = 0;
    this.time = 0;
    this.playing = false;
    this.last = 0;
    this.build();
  }

  build() {
    const names = this.entries.map((entry) => (new Set(this.entries.map((e) => e.experiment)).size > 1 ? `${entry.benchmark} (${entry.experiment})` : entry.benchmark));
    this.choice = element("select", { "aria-label": "Benchmark", onchange: () => this.choose(Number(this.choice.value)) }, ...names.map((name, n) => element("option", { value: n }, name)));
    this.button = element("button", { type: "button", class: "play", onclick: () => this.toggle() }, "Play");
    this.clock = element("output", {});
    this.sliders = element("div", { class: "track" });
    this.overview = element("figure", { class: "wide" });
    this.stages = element("div", { class: "stages" });
    const bar = element("div", { class: "bar" }, this.entries.length > 1 ? this.choice : null, this.button, element("span", {}, "time ", this.clock));
    const hint = element("p", { class: "hint" }, element("kbd", {}, "Space"), " plays and pauses, ", element("kbd", {}, "←"), " ", element("kbd", {}, "→"), " move the spec. The grey shape is the expert of the same spec from the same start; an arrow says how far away it is when it is out of view.", DATA.filmsLeftOut ? ` ${DATA.filmsLeftOut} more runs are filmed than fit this page.` : "");
    this.box = element("div", { class: "film", tabindex: 0, role: "group", "aria-label": "Films of the policies", "aria-keyshortcuts": "Space ArrowLeft ArrowRight" }, bar, this.sliders, this.overview, this.stages, hint);
    this.box.addEventListener("keydown", (event) => this.key(event));
    this.host.replaceChildren(this.box);
    LISTENERS.push(() => this.refresh());
    new ResizeObserver(() => this.draw()).observe(this.stages);
    this.choose(this.firstShown());
  }

  firstShown() {
    return Math.max(0, this.entries.findIndex((entry) => this.isShown(entry)));
  }

  isShown(entry) {
    return !OFF.experiment.has(entry.experiment) && !OFF.benchmark.has(entry.benchmark);
  }

  refresh() {
    if (!this.isShown(this.entry)) this.choose(this.firstShown());
    else this.layout();
  }

  choose(n) {
    this.entry = this.entries[n];
    this.choice.value = n;
    this.time = 0;
    const specs = this.entry.specs;
    this.values = specs[0].map((_, k) => [...new Set(specs.map((spec) => spec[k]))].sort((a, b) => a - b));
    const variables = BENCHMARKS.get(this.entry.benchmark).variables;
    this.inputs = this.values.map((values, k) => {
      const output = element("output", {});
      const input = element("input", { type: "range", min: 0, max: values.length - 1, step: 1, value: Math.floor(values.length * 0.7), id: `film-spec-${k}` });
      input.addEventListener("input", () => this.moved());
      return { input, output, label: element("label", { for: `film-spec-${k}` }, `${variables[k]?.label ?? "spec"} `, output, input) };
    });
    this.sliders.replaceChildren(...this.inputs.map(({ label }) => label));
    this.read();
    this.layout();
  }

  /* The spec that the sliders are at: the nearest that was filmed. */
  read() {
    const wanted = this.inputs.map(({ input }, k) => this.values[k][Number(input.value)]);
    const width = this.values.map((values) => values.at(-1) - values[0] || 1);
    const away = (spec) => spec.reduce((sum, value, k) => sum + ((value - wanted[k]) / width[k]) ** 2, 0);
    this.spec = this.entry.specs.reduce((best, spec, n) => (away(spec) < away(this.entry.specs[best]) ? n : best), 0);
    const trained = this.entry.runs.some((run) => run.trained[this.spec]);
    this.inputs.forEach(({ input, output }, k) => {
      output.textContent = number(this.entry.specs[this.spec][k]) + (k === 0 ? (trained ? " · training spec" : " · test spec") : "");
      input.setAttribute("aria-valuetext", output.textContent);
    });
  }

  moved() {
    this.read();
    this.time = 0;
    this.layout();
    if (MOTION && !this.playing) this.toggle();
  }

  /* One stage per method that was filmed, and the returns along the specs above them. */
  layout() {
    const runs = this.entry.runs.filter((run) => !OFF.method.has(run.method));
    this.expert = this.entry.runs.find((run) => run.method === "expert") ?? null;
    this.drawn = runs.length > 1 ? runs.filter((run) => run.method !== "expert") : runs;
    this.canvases = this.drawn.map((run) => {
      const canvas = element("canvas", { role: "img", "aria-label": `${nameOf(run)} at this spec` });
      const score = element("span", {}, run.returns[this.spec] === null ? "not filmed" : `return ${number(run.returns[this.spec], 0)}`);
      return { run, canvas, node: element("figure", { class: "stage" }, canvas, element("figcaption", {}, element("b", { ...colour(run.method) }, nameOf(run)), score)) };
    });
    this.stages.replaceChildren(...this.canvases.map(({ node }) => node));
    this.summary(runs);
    this.draw();
  }

  summary(runs) {
    const single = this.values.length === 1;
    this.overview.classList.toggle("gone", !single);
    if (!single) return;
    const specs = this.entry.specs.map((spec) => spec[0]);
    const series = runs.map((run) => ({ ...run, points: specs.map((at, n) => [at, run.returns[n], null, null]) }));
    const learner = runs.find((run) => run.trained.some(Boolean));
    const marks = learner ? [specs.filter((_, n) => learner.trained[n])] : [];
    const all = runs.flatMap((run) => run.returns).filter((value) => value !== null);
    const host = element("div");
    this.overview.replaceChildren(host);
    const label = BENCHMARKS.get(this.entry.benchmark).variables[0]?.label ?? "spec";
    lineChart(host, { x: { label, domain: [specs[0], specs.at(-1)] }, y: { domain: [Math.min(0, ...all), Math.max(1000, ...all)] }, series, marks, bands: false, height: 150, cursor: specs[this.spec], label: `Return of the filmed episode against ${label}`, onpick: (at) => this.go(specs.indexOf(at)) });
  }

  go(n) {
    this.inputs.forEach(({ input }, k) => { input.value = this.values[k].indexOf(this.entry.specs[n][k]); });
    this.moved();
    if (!this.box.contains(document.activeElement)) this.box.focus({ preventScroll: true });
  }

  key(event) {
    if (event.key === " " && event.target.tagName !== "BUTTON" && event.target.tagName !== "SELECT") {
      event.preventDefault();
      this.toggle();
    }
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step && event.target === this.box) {
      event.preventDefault();
      const input = this.inputs[0].input;
      input.value = Number(input.value) + step;
      this.moved();
    }
  }

  toggle() {
    this.playing = !this.playing;
    this.button.textContent = this.playing ? "Pause" : "Play";
    this.box.dataset.playing = this.playing;
    this.last = performance.now();
    if (this.playing) requestAnimationFrame((now) => this.tick(now));
  }

  tick(now) {
    if (!this.playing) return;
    const frames = Math.max(...this.entry.runs.map((run) => run.frames));
    this.time += Math.min(0.1, (now - this.last) / 1000) / this.entry.frame_s;
    this.last = now;
    if (this.time > frames - 1) this.time = 0;
    this.draw();
    requestAnimationFrame((next) => this.tick(next));
  }

  draw() {
    this.clock.textContent = `${(this.time * this.entry.frame_s).toFixed(1)} s`;
    const styles = getComputedStyle(this.host), look = (name) => styles.getPropertyValue(name);
    const probe = element("span", { style: "display:none" });
    this.host.append(probe);
    const resolved = (value) => { probe.style.color = value; return getComputedStyle(probe).color; };
    const inks = { ground: resolved("var(--rule)"), ghost: resolved("var(--tick)"), text: resolved("var(--soft)") };
    for (const { run, canvas, node } of this.canvases ?? []) {
      probe.setAttribute("class", colour(run.method).class);
      probe.setAttribute("style", `${colour(run.method).style};display:none;color:var(--k)`);
      this.stage(canvas, run, { ...inks, robot: getComputedStyle(probe).color });
    }
    probe.remove();
  }

  stage(canvas, run, inks) {
    const width = canvas.clientWidth, height = canvas.clientHeight, sharp = devicePixelRatio || 1;
    if (!width) return;
    canvas.width = width * sharp;
    canvas.height = height * sharp;
    const pen = canvas.getContext("2d");
    pen.scale(sharp, sharp);
    const { entry, spec } = this;
    const shapesOf = (of) => (of && of.at[spec] !== null ? posed(entry.skeletons[entry.skeleton[spec]], positionsAt(of, of.at[spec], entry.joints, Math.min(this.time, of.frames - 1))) : null);
    const robot = shapesOf(run), ghost = run === this.expert ? null : shapesOf(this.expert);
    if (!robot) return;
    const view = this.view(entry, spec, robot, width, height);
    this.ground(pen, view, inks, width, height);
    if (ghost) this.ghost(pen, ghost, view, inks, width);
    for (const shape of [...robot].sort((a, b) => b[5] - a[5])) capsule(pen, shape, view, inks.robot, shape[5] > 0.01 ? 0.55 : 1);
    this.meter(pen, run, inks, width, height);
  }

  /* Pixels per metre and the world's point in the middle: it follows robots that travel. */
  view(entry, spec, robot, width, height) {
    const skeleton = entry.skeletons[entry.skeleton[spec]];
    const travels = skeleton.bodies[0].joints.some(([kind, , , x]) => kind === "slide" && x !== 0);
    const size = entry.size ??= this.size(entry);
    const scale = Math.min((height * 0.74) / size.height, (width * 0.9) / size.width);
    const middle = travels ? robot.reduce((sum, shape) => sum + (shape[0] + shape[2]) / 2, 0) / robot.length : size.middle;
    const floor = height * 0.86;
    return { middle, x: (x) => width / 2 + (x - middle) * scale, z: (z) => floor - (z - size.bottom) * scale, scale, left: middle - width / 2 / scale, right: middle + width / 2 / scale, grounded: skeleton.ground && size.bottom > -0.2 };
  }

  /* How large the expert is at the end of the films, over all specs but the tallest fifth: some start upside down. */
  size(entry) {
    const run = this.expert ?? entry.runs[0];
    const boxes = run.at.flatMap((film, n) => {
      if (film === null) return [];
      const shapes = posed(entry.skeletons[entry.skeleton[n]], positionsAt(run, film, entry.joints, run.frames - 1));
      const ends = (k) => extent(shapes.flatMap((shape) => [shape[k], shape[k + 2]].flatMap((at) => [at - shape[4], at + shape[4]])));
      return [[...ends(0), ...ends(1)]];
    });
    const usual = (values) => values.sort((a, b) => a - b)[Math.floor((values.length - 1) * 0.8)];
    const bottom = Math.min(0, -usual(boxes.map((box) => -box[2])));
    return { width: usual(boxes.map((box) => box[1] - box[0])) * 1.35, height: (usual(boxes.map((box) => box[3])) - bottom) * 1.15, middle: usual(boxes.map((box) => (box[0] + box[1]) / 2)), bottom };
  }

  ground(pen, view, inks, width) {
    pen.strokeStyle = inks.ground;
    pen.fillStyle = inks.text;
    pen.lineWidth = 1.5;
    pen.beginPath();
    pen.moveTo(0, view.z(0));
    pen.lineTo(width, view.z(0));
    pen.stroke();
    pen.font = "10px system-ui, sans-serif";
    pen.textAlign = "center";
    for (let metre = Math.ceil(view.left + 16 / view.scale); metre <= view.right - 16 / view.scale; metre++) {
      pen.beginPath();
      pen.moveTo(view.x(metre), view.z(0));
      pen.lineTo(view.x(metre), view.z(0) + 5);
      pen.stroke();
      pen.fillText(`${metre} m`.replace("-", "−"), view.x(metre), view.z(0) + 16);
    }
  }

  ghost(pen, shapes, view, inks, width) {
    for (const shape of shapes) capsule(pen, shape, view, inks.ghost, 0.38);
    const middle = shapes.reduce((sum, shape) => sum + (shape[0] + shape[2]) / 2, 0) / shapes.length;
    const away = Math.abs(middle - view.middle), ahead = middle > view.middle;
    if (middle < view.right && middle > view.left) return;
    pen.fillStyle = inks.text;
    pen.font = "11px system-ui, sans-serif";
    pen.textAlign = ahead ? "right" : "left";
    pen.fillText(ahead ? `expert ${away.toFixed(1)} m →` : `← expert ${away.toFixed(1)} m`, ahead ? width - 8 : 8, 16);
  }

  /* The reward of each frame up to now, as a strip along the bottom. */
  meter(pen, run, inks, width, height) {
    const { rewards } = unpacked(run, this.entry.joints), film = run.at[this.spec];
    const each = width / (run.frames - 1);
    pen.fillStyle = inks.robot;
    for (let frame = 1; frame <= Math.min(this.time, run.frames - 1); frame++) {
      pen.globalAlpha = 0.75;
      const tall = (rewards[film * run.frames + frame] / 255) * height * 0.045;
      pen.fillRect((frame - 1) * each, height - tall, each - 0.4, tall);
    }
    pen.globalAlpha = 1;
  }
}

function capsule(pen, [x1, z1, x2, z2, radius], view, ink, opacity) {
  pen.globalAlpha = opacity;
  pen.strokeStyle = ink;
  pen.lineCap = "round";
  pen.lineWidth = Math.max(1.5, 2 * radius * view.scale);
  pen.beginPath();
  pen.moveTo(view.x(x1), view.z(z1));
  pen.lineTo(view.x(x2) + 0.01, view.z(z2));
  pen.stroke();
  pen.globalAlpha = 1;
}

function buildFilms() {
  const host = document.getElementById("films");
  if (DATA.films.length) host.player = new Player(host);
  else host.append(element("p", { class: "none" }, "No films here. hypogen trajectories FILE, with the file and storage of a sweep, makes some of cheetah, walker and finger."));
}

buildFilters();
document.querySelectorAll("main table").forEach(sortable);
buildFigures();
buildFilms();

/* On paper everything is open. */
let closed = [];
addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("details.table:not([open])")];
  for (const details of closed) details.open = true;
});
addEventListener("afterprint", () => closed.forEach((details) => { details.open = false; }));
