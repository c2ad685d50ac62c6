// The conversation with vbench-ctl: JSON and frames over one WebSocket, opened again when the server comes back.

const WAIT_MS = [250, 500, 1000, 2000]; // between tries

export function byId(id) {
  return document.getElementById(id);
}

export function made(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

// `hear(reply)` gets {kind, ...}; of frames also .clips, a list of {frames, height, width, pixels}.
export function converse(hear) {
  const state = byId("link");
  let socket = null;
  let tries = 0;
  let refused = false;

  function open() {
    const place = new URL("talk", location.href);
    place.protocol = "ws:";
    socket = new WebSocket(place);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      tries = 0;
      show("there", "connected");
    };
    socket.onmessage = (event) => {
      const reply = typeof event.data === "string" ? JSON.parse(event.data) : unpacked(event.data);
      refused = reply.kind === "busy";
      if (refused) say(reply.text, true);
      else if (reply.kind === "error") say(reply.text, true);
      hear(reply);
    };
    socket.onclose = () => {
      show("lost", refused ? "no free place" : "lost; trying again");
      hear({ kind: "lost" });
      if (!refused) setTimeout(open, WAIT_MS[Math.min(tries++, WAIT_MS.length - 1)]);
    };
  }

  function show(kind, text) {
    state.className = `link ${kind}`;
    state.textContent = text;
  }

  open();
  return {
    say(words) {
      if (socket.readyState !== WebSocket.OPEN) return false;
      socket.send(JSON.stringify(words));
      return true;
    },
  };
}

// A head as JSON after its length, then the pixels of all clips: uint8 RGB.
function unpacked(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  let at = 4 + length;
  head.clips = head.shapes.map(([frames, height, width]) => {
    const pixels = new Uint8Array(buffer, at, frames * height * width * 3);
    at += pixels.length;
    return { frames, height, width, pixels };
  });
  return head;
}

export function draw(canvas, clip, frame) {
  const { height, width, pixels } = clip;
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const picture = new ImageData(width, height);
  const rgba = new Uint32Array(picture.data.buffer);
  let from = Math.min(frame, clip.frames - 1) * height * width * 3;
  for (let to = 0; to < rgba.length; to += 1, from += 3) {
    rgba[to] = 0xff000000 | (pixels[from + 2] << 16) | (pixels[from + 1] << 8) | pixels[from];
  }
  canvas.getContext("2d").putImageData(picture, 0, 0);
}

// One notice at a time, read out by screen readers.
export function say(text, isError = false, ...more) {
  const place = byId("notice");
  place.className = isError ? "card notice error" : "card notice";
  place.replaceChildren(made("p", { textContent: text }), ...more);
  place.hidden = !text;
}
