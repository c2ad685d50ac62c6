// One frame at a time; a click is a mark, which is saved before the next frame is shown.

import { byId, converse, draw, say } from "./link.js";

const CROSS = 12; // length of an arm on the screen, in pixels
const NUDGE = 1 / 256, LEAP = 1 / 32; // of the frame, by an arrow key

let frame = null;
let cursor = [0.5, 0.5];
let waiting = false;
let failed = null; // what is asked again once the server is back
const marked = []; // frames in the order of marks, to be undone

const canvas = byId("picture");
const link = converse((reply) => {
  waiting = false;
  if (reply.kind === "lost") return;
  if (reply.kind === "error") return;
  const isGreeting = frame !== null && failed !== null;
  if (isGreeting) {
    const words = failed;
    failed = null;
    ask(words);
    return;
  }
  say(reply.done === reply.of ? "All frames are annotated. You can go through them again, or close this page." : "");
  frame = reply;
  cursor = reply.mark ?? cursor;
  show();
});

function ask(words) {
  if (waiting) return;
  waiting = link.say(words);
  failed = waiting ? null : words;
}

function show() {
  draw(canvas, enlarged(frame.clips[0]), 0);
  if (frame.mark) cross(frame.mark, "#ffffff", "#0b5fb0");
  byId("count").textContent = `Frame ${frame.at + 1} of ${frame.of}, ${frame.done} annotated`;
  byId("name").textContent = frame.name;
  byId("where").textContent = frame.mark ? `marked at ${frame.mark.map((part) => (100 * part).toFixed(1) + " %").join(", ")}` : "not marked";
  Object.assign(byId("progress"), { value: frame.done, max: frame.of });
  byId("previous").disabled = frame.at === 0;
  byId("next").disabled = frame.at === frame.of - 1;
  byId("undo").disabled = marked.length === 0;
}

// Small frames are drawn larger, so that a cross is finer than a pixel of theirs.
function enlarged(clip) {
  const times = Math.max(1, Math.floor(768 / clip.width));
  const width = clip.width * times;
  const height = clip.height * times;
  const pixels = new Uint8Array(width * height * 3);
  for (let y = 0, to = 0; y < height; y += 1) {
    const row = Math.floor(y / times) * clip.width;
    for (let x = 0; x < width; x += 1, to += 3) {
      const from = (row + Math.floor(x / times)) * 3;
      pixels.set(clip.pixels.subarray(from, from + 3), to);
    }
  }
  return { frames: 1, width, height, pixels };
}

function cross([x, y], outside, inside) {
  const pen = canvas.getContext("2d");
  const scale = canvas.width / canvas.getBoundingClientRect().width;
  const [left, top, arm] = [x * canvas.width, y * canvas.height, CROSS * scale];
  for (const [colour, width] of [[outside, 5 * scale], [inside, 2 * scale]]) {
    pen.beginPath();
    pen.strokeStyle = colour;
    pen.lineWidth = width;
    pen.moveTo(left - arm, top);
    pen.lineTo(left + arm, top);
    pen.moveTo(left, top - arm);
    pen.lineTo(left, top + arm);
    pen.stroke();
  }
}

function mark([x, y]) {
  if (!frame || waiting) return;
  marked.push(frame.at);
  ask({ do: "mark", at: frame.at, x, y, go_on: byId("go-on").checked });
}

function go(by) {
  const at = frame && frame.at + by;
  if (frame && at >= 0 && at < frame.of) ask({ do: "show", at });
}

function undo() {
  if (marked.length && !waiting) ask({ do: "unmark", at: marked.pop() });
}

canvas.onpointerdown = (event) => {
  const box = canvas.getBoundingClientRect();
  const parts = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  mark(parts.map((part) => Math.min(Math.max(part, 0), 1)));
};

canvas.onkeydown = (event) => {
  const ways = { ArrowUp: [0, -1], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowRight: [1, 0] };
  if (event.key === "Enter") mark(cursor);
  if (!(event.key in ways)) return;
  event.preventDefault();
  const step = event.shiftKey ? LEAP : NUDGE;
  cursor = cursor.map((part, axis) => Math.min(Math.max(part + step * ways[event.key][axis], 0), 1));
  show();
  cross(cursor, "#000000", "#ffd54a");
};

byId("previous").onclick = () => go(-1);
byId("next").onclick = () => go(1);
byId("undo").onclick = undo;

const KEYS = { n: () => go(1), p: () => go(-1), u: undo, PageDown: () => go(1), PageUp: () => go(-1), Backspace: undo };

addEventListener("keydown", (event) => {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (!(key in KEYS) || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  KEYS[key]();
});
