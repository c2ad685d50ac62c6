// Two clips play together until one is chosen; the page never learns whose they are.

import { byId, converse, draw, say } from "./link.js";

const HOLD_MS = 600; // on the last frame

let pair = null;
let frame = 0;
let timer = 0;

const link = converse((reply) => {
  if (reply.kind === "poll") byId("question").textContent = reply.question;
  if (reply.kind === "lost" || reply.kind === "error") enable(reply.kind === "error" && pair !== null);
  if (reply.kind === "pair" || reply.kind === "end") {
    byId("count").textContent = `${reply.done} of ${reply.of} answered`;
    Object.assign(byId("progress"), { value: reply.done, max: Math.max(reply.of, 1) });
    say("");
  }
  if (reply.kind === "pair") ask(reply);
  if (reply.kind === "end") {
    clearTimeout(timer);
    pair = null;
    byId("asking").hidden = true;
    byId("end").hidden = false;
  }
});

function ask(reply) {
  pair = reply;
  byId("asking").hidden = false;
  byId("end").hidden = true;
  byId("reference").hidden = pair.clips.length < 3;
  enable(true);
  replay();
}

function replay() {
  clearTimeout(timer);
  frame = 0;
  show();
}

function show() {
  const [left, right, wanted] = pair.clips;
  draw(byId("left"), left, frame);
  draw(byId("right"), right, frame);
  if (wanted) draw(byId("wanted"), wanted, frame);
  const last = Math.max(...pair.clips.map((clip) => clip.frames)) - 1;
  const pause = 1000 / Number(byId("pace").value) + (frame === last ? HOLD_MS : 0);
  frame = frame === last ? 0 : frame + 1;
  timer = setTimeout(show, pause);
}

function choose(answer) {
  if (byId("choose-left").disabled || !link.say({ do: "answer", answer, number: pair.number })) return;
  enable(false);
}

function enable(on) {
  for (const answer of ["left", "right", "tie"]) byId(`choose-${answer}`).disabled = !on;
}

for (const answer of ["left", "right", "tie"]) byId(`choose-${answer}`).onclick = () => choose(answer);
byId("again").onclick = () => pair && replay();
byId("pace").oninput = (event) => (byId("pace-number").value = event.target.value);

const KEYS = { ArrowLeft: () => choose("left"), ArrowRight: () => choose("right"), ArrowDown: () => choose("tie"), " ": replay };

addEventListener("keydown", (event) => {
  if (!(event.key in KEYS) || !pair || event.repeat || event.target.matches("input") || event.ctrlKey || event.altKey) return;
  if (event.key === " " && event.target.matches("button")) return;
  event.preventDefault();
  KEYS[event.key]();
});
