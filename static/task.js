// The page of a task: its steps are swapped in place, reached by keys and played; what opens is asked for while it is open.
(() => {
  "use strict";
  const REST_MS = 400, ADDRESS_MS = 1000, PATIENCE_MS = 3000, GLANCE_MS = 250, LOOK_MS = 1000, AHEAD = 3;
  const byId = (id) => document.getElementById(id), address = byId("address"), live = byId("live");
  const panel = () => byId("task-panel"), pause = (ms) => new Promise((done) => setTimeout(done, ms));

  // --- Steps. A panel is about run/domain/task/attempt/step, and its own address says so; without a step it follows the last one.
  const subjectOf = (url) => new URL(url, location.href).searchParams.get("task") || "";
  const shown = () => subjectOf(panel().getAttribute("hx-get"));
  const isStep = (link) => new URL(link.href).searchParams.has("step") || link.matches(".follow-live");
  const stepOf = (link) => ({ label: new URL(link.href).searchParams.get("step") || "", href: link.href });
  const steps = () => [...document.querySelectorAll("#task-panel .step-list a")].map(stepOf);
  const current = () => document.querySelector("#task-panel .step-list a[aria-current]");

  function end(which) {
    const href = new URL(document.querySelector("#task-panel .step-nav").dataset[which], location.href).href;
    return { label: new URL(href).searchParams.get("step"), href };
  }

  function about(url, label) {
    const to = new URL(url, location.href);
    to.searchParams.set("task", subjectOf(url).replace(/[^/]*$/, label));
    return to.pathname + to.search;
  }

  function neighbour(offset) {
    const label = (wanted || heading || (current() && stepOf(current())))?.label, all = steps();
    return all[all.findIndex((step) => step.label === label) + offset] || null;
  }

  // --- Going. One swap at a time, to the newest wish; the address bar says where the reader is, and the stream follows when he
  // rests. Until then what it says of the step that he left is dropped, and so is an answer to a poll from there.
  let wanted = null, heading = null, going = null, resting = 0, placedAt = 0;
  const isAway = () => Boolean(going || playing) || (address && subjectOf(address.dataset.stream) !== shown());

  function go(step) {
    wanted = step;
    going ||= travel().finally(() => { going = heading = null; rest(); });
    return going;
  }

  async function travel() {
    while (wanted) {
      heading = wanted;
      wanted = null;
      const { label, href } = heading, url = about(panel().getAttribute("hx-get"), label);
      await Promise.race([picture(label), pause(playing ? PATIENCE_MS : GLANCE_MS)]);
      await htmx.ajax("GET", url, { source: address, target: panel(), swap: "outerMorph" });
      if (shown() !== subjectOf(url)) {
        if (!playing) location.assign(href);
        return stop();
      }
      if (performance.now() - placedAt > ADDRESS_MS) tell();
    }
  }

  // Browsers count how often an address is changed.
  function tell() {
    placedAt = performance.now();
    const here = new URL(current()?.href || location.href), label = shown().split("/").pop();
    if (!label) here.search = "";
    if (here.pathname === location.pathname) address.dataset.place = here.pathname + here.search;
  }

  function rest() {
    clearTimeout(resting);
    if (playing) return;
    tell();
    resting = setTimeout(() => {
      resting = 0;
      const stream = about(address.dataset.stream, shown().split("/").pop());
      if (subjectOf(stream) !== subjectOf(address.dataset.stream)) address.dataset.stream = stream;
      look();
    }, REST_MS);
    ahead(1);
  }

  // --- Pictures are there before their step is shown. The film strip knows them.
  const pictures = new Map();

  function picture(label) {
    const frame = [...document.querySelectorAll("#task-panel .film a")].find((link) => stepOf(link).label === label);
    const small = frame?.querySelector("img")?.getAttribute("src");
    if (!small) return Promise.resolve();
    const url = small.replace(/\?.*/, "");
    if (!pictures.has(url)) {
      const image = new Image();
      image.src = url;
      pictures.set(url, image);
      if (pictures.size > 8) pictures.delete(pictures.keys().next().value);
    }
    return pictures.get(url).decode().catch(() => pictures.delete(url));
  }

  function ahead(count) {
    for (let offset = 1; offset <= count; offset += 1) {
      const step = neighbour(offset);
      if (step) picture(step.label);
    }
  }

  // --- Playing, at a speed in steps a second. In the end a task that runs is followed live.
  let playing = false;

  function draw() {
    const button = byId("play-button");
    if (!button) return;
    button.textContent = playing ? "Pause" : "Play";
    button.setAttribute("aria-pressed", String(playing));
  }

  async function play() {
    if (playing || !current()) return;
    playing = true;
    draw();
    if (!neighbour(1)) await go(end("first"));
    for (let at = performance.now(); ;) {
      if (!playing) return;  // stopped while a step came
      ahead(AHEAD);
      at = Math.max(at, performance.now() - 1000) + 1000 / Number(byId("play-speed")?.value || 1);
      await pause(at - performance.now());
      if (!playing) return;
      const next = neighbour(1);
      if (!next) break;
      await go(next);
    }
    const follow = document.querySelector("#task-panel .follow-live");
    stop();
    if (follow) go(stepOf(follow));
  }

  function stop() {
    if (!playing) return;
    playing = false;
    draw();
    rest();
  }

  // --- What opens is asked for: anew for another step, and again while that goes on.
  const asked = new WeakMap();

  function look() {
    if (playing || going || resting || document.hidden) return;
    for (const box of document.querySelectorAll("details.later[open]")) {
      const url = box.dataset.load, body = byId(`${box.id}-body`), last = asked.get(box);
      const again = Number(body.querySelector("[data-again]")?.dataset.again) * 1000;
      if (last?.url === url && !(again && Date.now() - last.at > again)) continue;
      asked.set(box, { url, at: Date.now() });
      if (last?.url !== url) body.setAttribute("aria-busy", "true");
      htmx.ajax("GET", url, { source: box, target: body, swap: "innerMorph" }).finally(() => body.removeAttribute("aria-busy"));
    }
  }

  // --- The reader.
  document.addEventListener("click", (event) => {
    if (event.target.closest?.("#play-button")) return playing ? stop() : play();
    const link = event.target.closest?.("#task-panel :is(.step-nav, .film, .step-list-box, .shot-after) a[href]");
    if (!link || !isStep(link) || event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    stop();
    go(((wanted || heading) && { prev: neighbour(-1), next: neighbour(1) }[link.rel]) || stepOf(link));
  });

  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey || !current()) return;
    if (event.target.closest?.("input, select, textarea, button, summary, pre, [contenteditable]")) return;
    if (event.key === " ") {
      event.preventDefault();
      if (playing) stop(); else if (!event.repeat) play();
    } else if (event.key === "Home" || event.key === "End") {
      event.preventDefault();
      stop();
      go(end(event.key === "Home" ? "first" : "last"));
    }
  });

  document.addEventListener("toggle", look, true);
  document.addEventListener("visibilitychange", look);
  document.addEventListener("htmx:before:swap", (event) => {
    const { ctx } = event.detail;
    if (ctx.sourceElement === panel() && subjectOf(ctx.request.action) !== shown()) event.preventDefault();
  });
  document.addEventListener("htmx:after:swap", look);
  live?.addEventListener("htmx:sse:before:message", (event) => { if (!event.detail.message.event && isAway()) event.preventDefault(); });
  setInterval(look, LOOK_MS);
  look();
})();
