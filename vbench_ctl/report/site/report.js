"use strict";
(() => {
  const all = (words, within = document) => [...within.querySelectorAll(words)];
  const one = (words, within = document) => within.querySelector(words);
  const listen = (node, event, act) => node && node.addEventListener(event, act);

  // Colours

  const THEMES = { auto: "Colours: as the system has them", light: "Colours: light", dark: "Colours: dark" };
  const theme = one("#theme");
  const dress = (name) => {
    if (!(name in THEMES)) name = "auto";
    document.documentElement.dataset.theme = name;
    theme.textContent = name[0].toUpperCase() + name.slice(1);
    theme.setAttribute("aria-label", THEMES[name]);
  };
  const remember = (name) => { try { localStorage.setItem("theme", name); } catch { /* pages on disk may keep nothing */ } };
  try { dress(localStorage.getItem("theme")); } catch { dress("auto"); }
  listen(theme, "click", () => {
    const names = Object.keys(THEMES);
    const name = names[(names.indexOf(document.documentElement.dataset.theme) + 1) % names.length];
    dress(name);
    remember(name);
  });

  // Tables: a click on a head sorts, best first, then the other way round; what has no number stays last

  const key = (row, column) => {
    const cell = row.cells[column];
    return column ? Number(cell.dataset.value ?? NaN) : cell.textContent.trim();
  };
  const sort = (head) => {
    const table = head.closest("table"), column = head.cellIndex;
    const first = head.dataset.direction === "higher" ? "descending" : "ascending";
    const order = head.getAttribute("aria-sort") === first ? (first === "ascending" ? "descending" : "ascending") : first;
    const sign = order === "ascending" ? 1 : -1;
    all("th[aria-sort]", table).forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", order);
    const rows = [...table.tBodies[0].rows];
    rows.sort((a, b) => {
      const [x, y] = [key(a, column), key(b, column)];
      if (!column) return sign * x.localeCompare(y, "en");
      if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
      return sign * (x - y);
    });
    table.tBodies[0].append(...rows);
  };
  all(".sort").forEach((button) => listen(button, "click", () => sort(button.closest("th"))));

  const filter = one("#filter");
  const sift = () => {
    const wanted = filter.value.trim().toLowerCase();
    let shown = 0, total = 0;
    for (const board of all(".board")) {
      const whole = board.dataset.words.toLowerCase().includes(wanted);
      let here = 0;
      for (const row of all("tbody tr[data-words]", board)) {
        row.hidden = !whole && !row.dataset.words.toLowerCase().includes(wanted);
        total += 1;
        here += row.hidden ? 0 : 1;
      }
      board.hidden = !here;
      shown += here;
    }
    one("#matches").textContent = wanted ? `${shown} of ${total} lines` : "";
  };
  listen(filter, "input", sift);

  // Copying

  const copied = async (text) => {
    try {
      await navigator.clipboard.writeText(text);
    } catch { // no clipboard for pages like this one: the old way
      const area = document.createElement("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
  };
  listen(document, "click", async (event) => {
    const button = event.target.closest(".copy");
    if (!button) return;
    await copied(button.dataset.copy);
    button.textContent = "Copied";
    button.focus();
    setTimeout(() => { button.textContent = "Copy"; }, 1200);
  });

  // The card of a number: shown while pointed at, kept by a click

  const card = one("#card");
  let owner = null, kept = false, timer = 0;
  const fill = (pairs) => {
    const list = document.createElement("dl");
    for (const [label, text] of pairs) {
      const [term, value] = [document.createElement("dt"), document.createElement("dd")];
      term.textContent = label;
      value.textContent = text;
      if (label === "signature" || label === "again") {
        value.className = "mono";
        const button = document.createElement("button");
        Object.assign(button, { type: "button", className: "copy", textContent: "Copy" });
        button.setAttribute("aria-label", `Copy the ${label === "again" ? "command" : "signature"}`);
        button.dataset.copy = text;
        value.append(button);
      }
      list.append(term, value);
    }
    card.replaceChildren(list);
  };
  const open = (button) => {
    owner = button;
    fill(JSON.parse(button.dataset.card));
    card.showPopover();
    const [at, size] = [button.getBoundingClientRect(), card.getBoundingClientRect()];
    const below = at.bottom + 6 + size.height < innerHeight || at.top < size.height + 12;
    card.style.left = `${Math.max(12, Math.min(at.left, innerWidth - size.width - 12))}px`;
    card.style.top = `${Math.max(12, below ? Math.min(at.bottom + 6, innerHeight - size.height - 12) : at.top - size.height - 6)}px`;
  };
  const close = () => {
    if (!owner) return;
    const [back, held] = [owner, card.contains(document.activeElement)];
    [owner, kept] = [null, false];
    card.hidePopover();
    if (held) back.focus();
  };
  const later = (act, wait) => { clearTimeout(timer); timer = setTimeout(act, wait); };
  all(".about-it").forEach((button) => {
    listen(button, "pointerenter", (event) => { if (event.pointerType === "mouse" && !kept) later(() => open(button), 120); });
    listen(button, "pointerleave", () => { if (!kept) later(close, 250); });
    listen(button, "click", () => {
      clearTimeout(timer);
      if (kept && owner === button) return close();
      open(button);
      kept = true;
      one(".copy", card)?.focus();
    });
  });
  listen(card, "pointerenter", () => clearTimeout(timer));
  listen(card, "pointerleave", () => { if (!kept) later(close, 250); });
  listen(document, "click", (event) => { if (!event.target.closest(".about-it, #card")) close(); });
  listen(document, "scroll", () => { if (!kept) close(); });

  listen(document, "keydown", (event) => {
    if (event.key === "Escape") close();
    if (event.key === "/" && filter && !event.target.closest("input, select, textarea")) {
      event.preventDefault();
      filter.focus();
    }
  });

  // Films: one video holds all pictures of a case; it is opened when it comes near, and drawn into canvases in pieces

  const HOLD = 0.5; // seconds at the end before everything begins again
  const near = new Set();
  const scratch = document.createElement("canvas"); // a frame is taken whole, then cut: it may change between two cuts
  let playing = false, seconds = 0, origin = 0, speed = 1;

  class Film {
    constructor(node) {
      this.node = node;
      this.frames = Number(node.dataset.frames);
      this.fps = Number(node.dataset.fps);
      this.given = Number(node.dataset.given);
      this.pieces = all("canvas", node).map((canvas) => ({
        canvas, context: canvas.getContext("2d"), x: Number(canvas.dataset.x), y: Number(canvas.dataset.y),
      }));
      this.drawn = -1;
    }
    open() {
      const video = document.createElement("video");
      Object.assign(video, { muted: true, playsInline: true, preload: "auto", src: this.node.dataset.video });
      this.video = video;
      listen(video, "loadeddata", () => { this.seek(); if (playing) this.start(); });
      listen(video, "seeked", () => this.redraw());
      near.add(this);
    }
    close() {
      near.delete(this);
      if (!this.video) return;
      this.video.pause();
      this.video.removeAttribute("src");
      this.video.load();
      this.video = null;
    }
    frameAt(time) { return Math.max(0, Math.min(this.frames - 1, Math.floor(time * this.fps + 1e-3))); }
    seek() {
      if (!this.video) return;
      this.video.requestVideoFrameCallback?.(() => this.redraw()); // the picture may come after the event
      this.video.currentTime = (this.frameAt(seconds) + 0.5) / this.fps;
    }
    redraw() {
      this.drawn = -1;
      this.draw();
    }
    start() {
      this.video.playbackRate = speed;
      this.video.play().catch(() => {}); // one that is closed meanwhile has nothing to play
    }
    draw() {
      if (!this.video || this.video.readyState < 2) return;
      const frame = this.frameAt(this.video.currentTime);
      if (frame === this.drawn) return;
      this.drawn = frame;
      this.node.dataset.frame = frame;
      [scratch.width, scratch.height] = [this.video.videoWidth, this.video.videoHeight];
      scratch.getContext("2d").drawImage(this.video, 0, 0);
      for (const { canvas, context, x, y } of this.pieces) {
        context.drawImage(scratch, x, y, canvas.width, canvas.height, 0, 0, canvas.width, canvas.height);
      }
    }
  }

  const films = all(".film").map((node) => new Film(node));
  if (!films.length) return;
  const [stage, play, slider, where] = ["#stage", "#play", "#frame", "#where"].map((words) => one(words));
  const fps = films[0].fps, most = Math.max(...films.map((film) => film.frames / film.fps));
  const last = Math.round(most * fps) - 1;
  slider.max = last;

  const say = () => {
    const frame = Math.max(0, Math.min(last, Math.floor(seconds * fps + 1e-3)));
    slider.value = frame;
    where.textContent = `frame ${frame + 1} of ${last + 1}${frame < films[0].given ? ", given" : ""}`;
  };
  const go = (frame) => {
    pause();
    seconds = Math.max(0, Math.min(last, frame)) / fps;
    near.forEach((film) => film.seek());
    say();
  };
  const begin = (time) => {
    seconds = time;
    origin = performance.now() - (seconds / speed) * 1000;
    near.forEach((film) => { if (film.video && film.video.readyState >= 2) { film.seek(); film.start(); } });
  };
  const tick = (now) => {
    if (!playing) return;
    seconds = Math.max(0, ((now - origin) / 1000) * speed);
    const end = Math.max(0, ...[...near].map((film) => film.frames / film.fps));
    if (seconds >= (end || most) + HOLD * speed) begin(0);
    near.forEach((film) => film.draw());
    say();
    requestAnimationFrame(tick);
  };
  const label = () => {
    play.textContent = playing ? "Pause" : "Play all";
    play.setAttribute("aria-pressed", playing);
  };
  const pause = () => {
    if (!playing) return;
    playing = false;
    seconds = Math.min(seconds, last / fps);
    near.forEach((film) => { film.video?.pause(); film.seek(); });
    label();
  };
  const run = () => {
    playing = true;
    label();
    begin(seconds >= last / fps ? 0 : seconds);
    requestAnimationFrame(tick);
  };
  const toggle = () => (playing ? pause() : run());
  const step = (by) => go(Math.floor(seconds * fps + 1e-3) + by);

  listen(play, "click", toggle);
  listen(one("#back"), "click", () => step(-1));
  listen(one("#on"), "click", () => step(1));
  listen(slider, "input", () => go(Number(slider.value)));
  listen(one("#speed"), "change", (event) => {
    speed = Number(event.target.value);
    if (playing) begin(seconds);
  });
  listen(one("#size"), "change", (event) => { stage.dataset.size = event.target.value; });
  all(".layer").forEach((box) => listen(box, "change", () => stage.classList.toggle(`no-${box.value}`, !box.checked)));

  const owners = new Map(films.map((film) => [film.node, film]));
  const watch = new IntersectionObserver((seen) => {
    for (const { target, isIntersecting } of seen) {
      const film = owners.get(target);
      if (isIntersecting && !film.video) film.open();
      if (!isIntersecting && film.video) film.close();
    }
  }, { rootMargin: "250px" });
  films.forEach((film) => watch.observe(film.node));
  go(last);

  listen(document, "keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const inside = event.target.closest("input, select, textarea, .scroll, pre, [popover]");
    if (event.key === "ArrowLeft" && !inside) step(-1);
    else if (event.key === "ArrowRight" && !inside) step(1);
    else if (event.key === " " && !event.target.closest("button, a, summary, input, select, textarea")) toggle();
    else return;
    event.preventDefault();
  });
})();
