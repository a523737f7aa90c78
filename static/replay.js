// The time line of a replay: shows where the server is, and asks it to go elsewhere. The panels come by the page's own stream.
(() => {
  "use strict";
  const byId = (id) => document.getElementById(id);
  const form = byId("replay"), play = byId("replay-play"), speed = byId("replay-speed"), idle = byId("replay-idle");
  const line = byId("replay-at"), clock = byId("replay-clock"), source = byId("replay-source"), gone = byId("replay-gone");
  const MINUTE_S = 60, ASK_MS = 2_000, DRAW_MS = 100, SEEK_MS = 120, ADDRESS_MS = 2_000;
  const marks = [...document.querySelectorAll(".replay-ticks rect")].map((rect) => Number(rect.dataset.at));
  const hour = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
  const two = (number) => String(number).padStart(2, "0");
  let status = JSON.parse(form.dataset.status), since = performance.now(), held = null, seeking = 0, addressed = 0, wanted = {}, isGone = false;

  const at = () => held ?? Math.min(status.duration, status.at + (performance.now() - since) / 1000 * status.rate);
  const length = (s) => `${two(Math.floor(s / 3600))}:${two(Math.floor(s / 60) % 60)}:${two(Math.floor(s) % 60)}`;
  const write = (element, text) => { if (element.textContent !== text) element.textContent = text; };

  function show() {
    const s = at(), moment = new Date((status.now - status.at + s) * 1000);
    if (held === null) line.value = s;
    write(clock, `${hour.format(moment)}, ${length(s)} into the run`);
    line.setAttribute("aria-valuetext", clock.textContent);
    write(play, status.playing ? "Pause" : s >= status.duration ? "Play again" : "Play");
    write(source, status.source);
    if (Number(speed.value) !== status.speed) speed.value = [...speed.options].find((option) => Number(option.value) === status.speed)?.value ?? speed.value;
    idle.checked = status.skip_idle;
  }

  function take(next) {
    status = next;
    since = performance.now();
    line.max = status.duration;
    document.dispatchEvent(new CustomEvent("replay:time", { detail: { now: status.now, rate: status.rate } }));
    show();
  }

  // The address leads back to this moment; not at every turn, as browsers count.
  function keepAddress() {
    if (isGone || performance.now() - addressed < ADDRESS_MS) return;
    addressed = performance.now();
    history.replaceState(null, "", `${form.dataset.again}?speed=${status.speed}&at=${Math.floor(at())}`);
  }

  function end(message) {
    isGone = true;
    gone.replaceChildren(`${message} `, Object.assign(document.createElement("a"), {
      href: `${form.dataset.again}?speed=${status.speed}&at=${Math.floor(at())}`, textContent: "Go on from here",
    }));
    gone.hidden = false;
    status = { ...status, at: at(), now: status.now - status.at + at(), rate: 0, playing: false };
    for (const control of [play, speed, idle, line]) control.disabled = true;
    show();
  }

  async function ask(fields) {
    if (isGone) return;
    const body = fields && new URLSearchParams({ ...fields, _xsrf: form.elements._xsrf.value });
    const answer = await fetch(form.action, body ? { method: "POST", body } : {}).catch(() => null);
    if (answer?.ok) take(await answer.json());
    else if (answer?.status === 404) end("This replay has ended: nobody watched it for some minutes, or newer ones took its place.");
  }

  // A drag asks a few times a second, and in any case for where it ends.
  function seek(s) {
    held = Math.min(Math.max(0, s), status.duration);
    wanted = { at: held };
    show();
    seeking ||= setTimeout(async () => {
      const told = wanted;
      await ask(told);
      seeking = 0;
      if (told !== wanted) return seek(wanted.at);
      held = null;
      addressed = 0;
      show();
    }, SEEK_MS);
  }

  const toggle = () => ask({ playing: !status.playing });

  function jump(forward) {
    const s = at(), next = forward ? marks.find((mark) => mark > s + 0.5) : marks.findLast((mark) => mark < s - 0.5);
    seek(next ?? (forward ? status.duration : 0));
  }

  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || isGone) return;
    const { target, key, shiftKey } = event;
    if (target !== line && target.closest?.("input:not([type=checkbox]), select, textarea, [contenteditable]")) return;
    if (key === " " && target.closest?.("button, a, summary, [type=checkbox]")) return;
    const sign = { ArrowRight: 1, ArrowLeft: -1 }[key];
    if (key === " ") toggle();
    else if (sign && shiftKey) jump(sign > 0);
    else if (sign) seek(at() + sign * MINUTE_S);
    else if (key === "Home") seek(0);
    else if (key === "End") seek(status.duration);
    else return;
    event.preventDefault();
  });

  // What a panel orders anew comes from the replay, not from the page of the run.
  document.addEventListener("htmx:config:request", ({ detail: { ctx } }) => {
    const [path, query] = ctx.request.action.split("?");
    if (path === form.dataset.run) ctx.request.action = `${form.getAttribute("action")}/page${query ? `?${query}` : ""}`;
  });

  document.addEventListener("DOMContentLoaded", () => {
    const live = byId("live"), badge = byId("sse-connection-indicator");
    play.addEventListener("click", toggle);
    speed.addEventListener("change", () => ask({ speed: speed.value }));
    idle.addEventListener("change", () => ask({ skip_idle: idle.checked }));
    line.addEventListener("input", () => seek(Number(line.value)));
    form.addEventListener("submit", (event) => event.preventDefault());
    live?.addEventListener("replay", ({ detail }) => take(JSON.parse(detail.data)));
    live?.addEventListener("bye", () => ask());
    show();
    setInterval(() => { if (!document.hidden) { show(); keepAddress(); } }, DRAW_MS);
    setInterval(() => { if (!document.hidden && !badge.classList.contains("connected")) ask(); }, ASK_MS);
  });
})();
