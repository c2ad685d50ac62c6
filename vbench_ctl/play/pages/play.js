// Drive models: what is held is asked for, one step after the other. The script of a drive is kept, to find back.

import { byId, converse, draw, made, say } from "./link.js";

const ARROWS = { ArrowUp: "↑", ArrowLeft: "←", ArrowDown: "↓", ArrowRight: "→" };
const PLACES = { ArrowUp: "up", ArrowLeft: "left", ArrowDown: "down", ArrowRight: "right", w: "up", a: "left", s: "down", d: "right" };
const RECENT_MS = 2000; // over which frames a second are counted

const held = new Set(); // keys and buttons that are down
const tapped = new Set(); // that went down since the last step, so that a short tap counts
const chosen = new Map(); // group -> key of the button that stays
const drive = { clip: 0, frame: 0, seed: 0, script: [] };
let clips = null;
let table = null;
let canvases = [];
let buttons = new Map(); // key -> button elements
let point = null; // where was clicked last, in parts of the frame
let clicked = false;
let waiting = false; // for the answer to a step
let busy = false; // frames of an answer are still being shown
let running = false;
let asked = null; // what the step in flight asked for
let askedAt = 0;
let undone = null; // the script without its last step, while an undo is in flight
let shownAt = [];

const link = converse(hear);

function hear(reply) {
  if (reply.kind === "lost") {
    waiting = false;
    busy = false;
    asked = undone = null;
  } else if (reply.kind === "error") {
    waiting = false;
    asked = undone = null;
    stop();
  } else if (reply.kind === "clips") {
    clips = reply;
    drive.clip = Math.min(drive.clip, clips.names.length - 1);
    showClips();
    start(drive.script); // after a restart of the server: everything again
  } else if (reply.kind === "table") {
    showTable(reply);
  } else if (reply.kind === "frames") {
    waiting = false;
    if (asked) drive.script.push(asked);
    if (undone) drive.script = undone;
    asked = undone = null;
    showFrames(reply);
  } else if (reply.kind === "recorded") {
    showRecorded(reply);
  }
}

// Where to start

function showClips() {
  byId("starts").replaceChildren(
    ...clips.names.map((name, index) => {
      const canvas = made("canvas");
      draw(canvas, clips.clips[index], 0);
      const button = made("button", { type: "button", title: name }, canvas);
      button.setAttribute("aria-label", `Start from ${name}`);
      button.onclick = () => begin(index, 0);
      return button;
    }),
  );
}

function begin(clip, frame) {
  Object.assign(drive, { clip, frame, seed: Number(byId("seed").value) || 0 });
  start([]);
}

function start(script) {
  stop();
  say("");
  drive.script = script;
  const shown = byId("starts").children;
  [...shown].forEach((button, index) => button.setAttribute("aria-pressed", String(index === drive.clip)));
  Object.assign(byId("frame"), { max: clips.lengths[drive.clip] - 1, value: drive.frame });
  byId("frame-number").value = drive.frame;
  byId("clip-name").textContent = clips.names[drive.clip];
  waiting = link.say({ do: "start", ...drive });
}

// The sides and their buttons

function showTable(reply) {
  const same = table && JSON.stringify(table.buttons) === JSON.stringify(reply.buttons);
  table = reply;
  byId("stride-label").hidden = !table.strides;
  canvases = table.sides.map((side, index) => sideCanvas(side, index));
  byId("sides").replaceChildren(...canvases.map((canvas) => canvas.parentElement));
  if (same) return;
  byId("pace").value = byId("pace-number").value = Math.round(table.fps);
  chosen.clear();
  buttons = new Map();
  byId("controls").replaceChildren(...grouped(table.buttons).map(([name, group]) => groupNode(name, group)));
  refresh();
}

function sideCanvas(side, index) {
  const canvas = made("canvas");
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `${side.name}, now`);
  const name = made("span", { textContent: side.name });
  const clickHint = side.point ? "click where to go" : "";
  const facts = made("span", { className: "quiet number", id: `ms-${index}`, textContent: clickHint });
  made("figure", { className: side.point ? "side card pointed" : "side card" }, canvas, made("figcaption", {}, name, facts));
  if (side.point) {
    canvas.onpointerdown = (event) => {
      const box = canvas.getBoundingClientRect();
      point = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height].map((part) => Math.min(Math.max(part, 0), 1));
      clicked = true;
      step();
    };
  }
  return canvas;
}

// Buttons of one key, from several sides, are one button.
function grouped(all) {
  const groups = new Map();
  const seen = new Map();
  for (const button of all) {
    if (seen.has(button.key)) {
      const first = seen.get(button.key);
      first.names.add(button.name);
      first.rest ||= button.rest;
      continue;
    }
    const merged = { ...button, names: new Set([button.name]) };
    seen.set(button.key, merged);
    if (!groups.has(button.group)) groups.set(button.group, []);
    groups.get(button.group).push(merged);
  }
  return [...groups].sort(([, a], [, b]) => isPad(b) - isPad(a));
}

function isPad(group) {
  return group.every((button) => button.key in PLACES);
}

function groupNode(name, group) {
  const row = made("div", { className: isPad(group) ? "pad" : "row" }, ...group.map((button) => buttonNode(button, isPad(group))));
  const first = group.find((button) => button.stays && button.rest);
  if (first) chosen.set(name, first.key);
  return made("fieldset", { className: "group" }, made("legend", { textContent: name }), row);
}

function buttonNode(button, inPad) {
  const names = [...button.names].join(", ");
  const shown = ARROWS[button.key] ?? (inPad ? button.key.toUpperCase() : "");
  const node = made("button", { type: "button", title: `${names} (${button.key})` });
  if (inPad) node.append(shown);
  else if (button.key.length === 1) node.append(made("span", { textContent: names }), made("kbd", { textContent: button.key }));
  else node.append(names);
  node.setAttribute("aria-label", `${button.group}: ${names}`);
  if (inPad) node.classList.add(PLACES[button.key]);
  node.onmousedown = (event) => event.preventDefault(); // it takes no focus, so that Space still runs
  node.onpointerdown = (event) => {
    node.setPointerCapture(event.pointerId);
    press(button.key);
  };
  node.onpointerup = node.onpointercancel = () => release(button.key);
  node.onclick = (event) => {
    if (event.detail !== 0) return; // a pointer's; the rest is Enter or a screen reader
    press(button.key);
    release(button.key);
  };
  buttons.set(button.key, { ...button, node });
  return node;
}

function refresh() {
  for (const [key, { node, stays, group }] of buttons) {
    if (stays) node.setAttribute("aria-pressed", String(chosen.get(group) === key));
    else node.classList.toggle("held", held.has(key));
  }
}

// What is pressed

function press(key) {
  const button = buttons.get(key);
  if (!button || held.has(key)) return;
  if (button.stays) chosen.set(button.group, key);
  held.add(key);
  tapped.add(key);
  refresh();
  step();
}

function release(key) {
  held.delete(key);
  refresh();
}

function stop() {
  held.clear();
  tapped.clear();
  clicked = false;
  run(false);
  refresh();
}

function run(on) {
  running = on;
  byId("run").setAttribute("aria-pressed", String(on));
  if (on) step();
}

function step() {
  if (!table || waiting || busy || undone) return;
  if (!running && !held.size && !tapped.size && !clicked) return;
  const wait = askedAt + 1000 / Number(byId("pace").value) - performance.now();
  if (wait > 1) {
    setTimeout(step, wait);
    return;
  }
  const pressed = [...new Set([...held, ...tapped, ...chosen.values()])];
  tapped.clear();
  clicked = false;
  const words = [pressed, point, Number(byId("stride").value)];
  if (!link.say({ do: "step", asked: words })) return;
  asked = words;
  askedAt = performance.now();
  waiting = true;
}

// What comes of it

async function showFrames(reply) {
  byId("steps").textContent = reply.steps;
  const length = Math.max(...reply.clips.map((clip) => clip.frames));
  if (reply.ms.length) {
    const now = performance.now();
    byId("latency").textContent = Math.round(now - askedAt);
    byId("compute").textContent = Math.round(reply.ms.reduce((a, b) => a + b, 0));
    reply.ms.forEach((ms, index) => (byId(`ms-${index}`).textContent = `${ms.toFixed(0)} ms`));
  }
  busy = true;
  for (let frame = 0; frame < length; frame += 1) {
    canvases.forEach((canvas, index) => draw(canvas, reply.clips[index], frame));
    counted();
    if (frame < length - 1) await new Promise((done) => setTimeout(done, 1000 / Number(byId("pace").value)));
  }
  busy = false;
  step();
}

function counted() {
  const now = performance.now();
  shownAt = [...shownAt.filter((time) => now - time < RECENT_MS), now];
  const span = now - shownAt[0];
  byId("fps").textContent = shownAt.length > 2 ? ((1000 * (shownAt.length - 1)) / span).toFixed(1) : "–";
}

function showRecorded(reply) {
  const lines = [`The film: ${reply.film}`, ...reply.commands].map((text) => made("p", {}, made("code", { textContent: text })));
  say(`${reply.frames} frames recorded in ${reply.folder}`, false, ...lines);
}

// The other buttons

function undo() {
  if (!waiting && !busy && drive.script.length && link.say({ do: "undo" })) {
    undone = drive.script.slice(0, -1);
    waiting = true;
  }
}

byId("run").onclick = () => run(!running);
byId("undo").onclick = undo;
byId("reset").onclick = () => start([]);
byId("record").onclick = () => link.say({ do: "record" });
byId("frame").oninput = (event) => (byId("frame-number").value = event.target.value);
byId("frame").onchange = (event) => begin(drive.clip, Number(event.target.value));
byId("seed").onchange = () => begin(drive.clip, drive.frame);
for (const name of ["pace", "stride"]) byId(name).oninput = (event) => (byId(`${name}-number`).value = event.target.value);

const SHORTCUTS = { " ": () => run(!running), Backspace: undo, Home: () => start([]) };

function isTyping(target) {
  return target.matches("input");
}

addEventListener("keydown", (event) => {
  if (isTyping(event.target) || event.ctrlKey || event.metaKey || event.altKey) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (key === " " && event.target.matches("button")) return; // presses that button
  if (key in SHORTCUTS || buttons.has(key)) event.preventDefault();
  if (event.repeat) return;
  if (key in SHORTCUTS) SHORTCUTS[key]();
  else press(key);
});
addEventListener("keyup", (event) => release(event.key.length === 1 ? event.key.toLowerCase() : event.key));
addEventListener("blur", () => {
  held.clear();
  refresh();
});
