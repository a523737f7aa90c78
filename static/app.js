// What the page does by itself: keeps one stream (hx-sse carries it, this decides when), polls while there is none, says
// which of the two it is, counts ages on, and passes notifications and errors to the reader.
(() => {
  "use strict";
  const MAX_MISSES = 5, MAX_DELAY_MS = 30_000, MAX_KNOCK_MS = 300_000, STEADY_MS = 5_000;
  const SILENT_MS = 25_000, FIRST_WORD_MS = 10_000, GRACE_MS = 20_000, BANNER_MS = 10_000;
  const byId = (id) => document.getElementById(id), each = (selector, visit) => document.querySelectorAll(selector).forEach(visit);
  const live = byId("live"), address = byId("address"), badge = byId("sse-connection-indicator"), retry = byId("retry-live"), ask = byId("notify-button");
  const canStream = Boolean(live && window.EventSource && window.ReadableStream && document.body.dataset.sse !== "off");

  // --- Times. The server prints exact ones; ages count on its clock, which the heartbeats tell.
  const seen = new Map(), fresh = new Map(), dueAt = new Map();
  const loaded = performance.timeOrigin + (performance.getEntriesByType("navigation")[0]?.responseStart || performance.now());
  const isReplay = "rate" in document.body.dataset;  // time passes at a rate of its own, and nothing is news
  let toldAt = loaded, told = document.body.dataset.now ? document.body.dataset.now * 1000 : loaded, rate = isReplay ? Number(document.body.dataset.rate) : 1;
  const now = () => told + (Date.now() - toldAt) * rate;
  const keepTime = (beat) => { told = beat.now * 1000; toldAt = Date.now(); rate = beat.rate ?? 1; };
  const today = new Intl.DateTimeFormat([], { hour: "numeric", minute: "2-digit" });
  const otherDay = new Intl.DateTimeFormat([], { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
  const clock = (at) => (new Date(at).toDateString() === new Date(now()).toDateString() ? today : otherDay).format(at);
  const write = (element, text) => { if (element.textContent !== text) element.textContent = text; };

  function words(ms) {
    const s = Math.max(0, Math.floor(ms / 1000)), min = Math.floor(s / 60), h = Math.floor(s / 3600), d = Math.floor(s / 86400);
    return d ? `${d} d ${h % 24} h` : h ? `${h} h ${min % 60} min` : min ? `${min} min ${s % 60} s` : `${s} s`;
  }

  function age(ms) {
    if (ms < 1000) return "now";
    return ms >= 60_000 && ms < 3_600_000 ? `${Math.floor(ms / 60_000)} min ago` : `${words(ms)} ago`;
  }

  // Money grows like ages; the server prints it in the same words.
  function money(sign, amount, isSmall) {
    if (isSmall && amount > 0 && amount < 1) return amount < 0.0001 ? `< ${sign}0.0001` : sign + amount.toFixed(amount >= 0.1 ? 3 : 4);
    return amount > 0 && amount < 0.01 ? `< ${sign}0.01` : sign + amount.toFixed(2).replace(/\B(?=(\d{3})+(?!\d))/g, ",");
  }

  function tellTimes() {
    each("time[data-age]", (element) => {
      const printed = Date.parse(element.dateTime), { seen: vm, staleAfter, refreshed } = element.dataset;
      const known = vm ? seen.get(vm) : refreshed !== undefined ? fresh.get(element.closest("[data-poll]")?.id) : 0;
      const at = Math.max(printed, known || 0);
      if (at > printed) element.title = new Date(at).toISOString().replace("T", " ").replace(/\.\d+Z/, " UTC");
      write(element, age(now() - at));
      if (staleAfter) element.classList.toggle("stale", now() - at > staleAfter * 1000);
    });
    each("[data-since]", (element) => write(element, words(now() - element.dataset.since * 1000)));
    each("[data-cost-rate]", (element) => {
      const { cost, costRate, costSince, costSign, costSmall } = element.dataset;
      write(element, money(costSign, Number(cost) + costRate * Math.max(0, now() / 1000 - costSince), costSmall !== undefined));
    });
    each("time[data-clock]", (element) => write(element, clock(Date.parse(element.dateTime))));
    each("time[data-until]", (element) => {
      const leftMs = Date.parse(element.dateTime) - now();
      write(element, leftMs > 0 ? `in ${words(leftMs + 999)}` : "now");
    });
  }

  // --- What a swap changed is completed before it is painted: a glow, ages, the end of a log.
  const scrolledUp = new WeakSet(), calm = matchMedia("(prefers-reduced-motion: reduce)");
  const follow = () => each("[data-follow]", (box) => { if (!scrolledUp.has(box)) box.scrollTop = box.scrollHeight; });
  // A list keeps its chosen item in view, until the reader scrolls it; a new choice counts again.
  const revealed = new WeakMap();
  const reveal = () => each("[data-reveal]", (box) => {
    const item = box.querySelector("[aria-current]");
    if (!item || revealed.get(box) === item.href) return;
    revealed.set(box, item.href);
    const place = item.getBoundingClientRect(), frame = box.getBoundingClientRect();
    box.scrollTop += place.top - frame.top - (box.clientHeight - item.offsetHeight) / 2;
    box.scrollLeft += place.left - frame.left - (box.clientWidth - item.offsetWidth) / 2;
  });
  const observer = new MutationObserver((records) => {
    const changed = new Set(records.map(({ type, target }) => type === "characterData" && target.parentElement?.closest("[data-glow]")));
    for (const element of calm.matches || isReplay ? [] : changed) {
      if (element) element.animate({ backgroundColor: ["color-mix(in srgb, var(--accent) 35%, transparent)", "transparent"] }, 1000);
    }
    tellTimes();
    follow();
    reveal();
    observer.takeRecords();
  });

  // --- The stream. States: disconnected, connecting, connected, reconnecting, error.
  let state = "disconnected", link = null, openedAt = 0, heardAt = 0, liveAt = 0, downAt = Date.now(), attempt = 0, misses = 0, lastId = "", timer = 0, bannerTimer = 0;
  let polling = false, pollsWork = true, bidden = false, queued = false, release = null;
  let restUntil = 0;  // the server says that polls are too many
  let asked = "", moved = false, turnedAway = 0;  // the status that said so: 401 signed out, 403 not allowed

  function show(next = state) {
    if (state === "connected" && next !== "connected") downAt = Date.now();
    if (state !== next) console.info(`SSE: ${state} -> ${next}`);
    state = next;
    if (!badge) return;
    const kind = turnedAway ? "closed" : state === "connected" ? "connected" : !polling ? "disconnected" : pollsWork ? "polling" : "closed";
    badge.className = `connection-indicator ${kind}`;
    badge.title = `SSE: ${state}`;
    const waiting = liveAt || misses ? "Reconnecting..." : "Connecting...";
    write(badge, { connected: isReplay ? "Replay" : "Live", disconnected: waiting, polling: "Polling", closed: { 401: "Signed out", 403: "Not allowed" }[turnedAway] || "Offline" }[kind]);
    retry.hidden = !(polling && canStream) || turnedAway > 0;
    if (ask) ask.hidden = !(canStream && !turnedAway && navigator.locks && window.Notification?.permission === "default");
  }

  function connect() {
    clearTimeout(timer);
    if (!canStream || turnedAway || link || openedAt || (document.hidden && !release)) return;
    openedAt = Date.now();
    if (state !== "connected") show(state === "error" ? state : liveAt || misses ? "reconnecting" : "connecting");
    htmx.trigger(live, "live:connect");
  }

  function hangUp() {
    const old = link;
    link = null;
    clearTimeout(timer);
    openedAt = 0;
    old?.abortController.abort();
  }

  // A filter or a sorted column swaps its panel without loading the page: the address bar says so, and the stream moves along.
  function move() {
    if (address.dataset.place && address.dataset.place !== location.pathname + location.search) history.replaceState(null, "", address.dataset.place + location.hash);
    moved = Boolean(link) && asked !== address.dataset.stream;
    if (moved) link.abortController.abort();
  }

  function fail(leastMs = 0) {
    openedAt = 0;
    const isLoss = state === "connected";
    attempt = isLoss && Date.now() - liveAt > STEADY_MS ? 1 : attempt + 1;
    misses = isLoss ? 0 : misses + 1;
    show(misses >= MAX_MISSES ? "error" : "reconnecting");
    if (state === "error") startPolling();
    const late = misses - MAX_MISSES;
    const delayMs = late < 0 ? Math.min(MAX_DELAY_MS, 1000 * 2 ** (attempt - 1)) : Math.min(MAX_KNOCK_MS, MAX_DELAY_MS * 2 ** late);
    timer = setTimeout(connect, Math.max(leastMs, delayMs * (0.5 + Math.random() / 2)));
  }

  // While one tab of a browser holds the lock it keeps its stream when hidden, and it alone notifies.
  function lead() {
    if (isReplay || queued || release || !navigator.locks || window.Notification?.permission !== "granted") return;
    queued = true;
    navigator.locks.request("waa-live-notify", () => new Promise((done) => {
      queued = false;
      if (state !== "connected") return done();
      release = () => { release = null; done(); };
    }));
  }

  // The server will not have us: nothing is asked any more, and the page says what can be done.
  function turnAway(status) {
    if (turnedAway) return;
    turnedAway = status;
    release?.();
    polling = false;
    hangUp();
    show("error");
    const banner = byId("sse-error-banner"), way = document.createElement("a");
    clearTimeout(bannerTimer);
    way.href = `/login?next=${encodeURIComponent(location.pathname + location.search)}`;
    way.textContent = "Sign in";
    banner.replaceChildren(status === 401 ? "You are signed out. What is shown stands still. " : "This is not open to you any more. ", way);
    banner.hidden = false;
  }

  // What a server that is asked too often, or has no room, says about when to ask again.
  function waitOf(response) {
    const seconds = [429, 503].includes(response?.status) ? Number(response.headers?.get("Retry-After")) : 0;
    return seconds > 0 ? Math.min(MAX_KNOCK_MS, seconds * 1000) : 0;
  }

  function startPolling() {
    release?.();
    if (polling || turnedAway) return;
    polling = true;
    console.info("SSE: polling");
    dueAt.clear();
    show();
    poll();
  }

  function poll() {
    if (!polling || document.hidden || Date.now() < restUntil) return;
    const periods = new Set([...document.querySelectorAll("[data-poll]")].map((panel) => Number(panel.dataset.poll)));
    for (const period of periods) {
      if (Date.now() < (dueAt.get(period) || 0)) continue;
      dueAt.set(period, Date.now() + period * 1000 - 50);
      document.body.dispatchEvent(new CustomEvent(`poll-${period}s`));
    }
  }

  function everySecond() {
    tellTimes();
    observer.takeRecords();
    if (link && Date.now() - heardAt > (state === "connected" ? SILENT_MS : FIRST_WORD_MS)) {
      hangUp();
      fail();
      startPolling();
    }
    if (turnedAway) return;
    if (openedAt && Date.now() - openedAt > GRACE_MS) fail();
    if (canStream && !document.hidden && state !== "connected" && Date.now() - downAt > GRACE_MS) startPolling();
    poll();
  }

  function listen() {
    const on = (name, handle) => live.addEventListener(name, (event) => event.target === live && handle(event.detail));
    const onJson = (name, handle) => on(name, (detail) => {
      try { handle(JSON.parse(detail.data)); } catch (error) { console.warn(`stream: ${name}`, error); }
    });
    on("htmx:config:request", ({ ctx }) => {
      ctx.request.action = asked = address.dataset.stream;
      if (lastId) ctx.request.headers["Last-Event-ID"] = lastId;
    });
    on("htmx:sse:before:connection", ({ connection }) => { link = connection; openedAt = 0; heardAt = Date.now(); move(); });
    on("htmx:sse:before:message", ({ connection, message }) => {
      heardAt = Date.now();
      lastId = message.id || lastId;
      if (["busy", "bye", "signed_out"].includes(message.event) || connection !== link || state === "connected") return;
      liveAt = Date.now();
      polling = false;
      show("connected");
      lead();
    });
    on("htmx:sse:close", ({ connection }) => {
      if (connection !== link) return;
      link = null;
      if (moved) timer = setTimeout(connect);  // its element is free when this event is over
      else if (!bidden && !turnedAway) fail(Math.min(Number(connection.config.reconnectDelay) || 0, MAX_KNOCK_MS));
    });
    on("htmx:finally:request", ({ ctx }) => {
      if (link || !openedAt) return;
      const status = ctx?.response?.status;
      if ([401, 403].includes(status)) return turnAway(status);
      const waitMs = waitOf(ctx?.response);
      if (waitMs) startPolling();
      fail(waitMs);
    });
    on("busy", startPolling);
    on("signed_out", () => turnAway(401));
    on("bye", () => { bidden = true; show("disconnected"); startPolling(); });
    onJson("hb", (beat) => {
      keepTime(beat);
      for (const [vm, at] of Object.entries(beat.seen || {})) seen.set(vm, at * 1000);
      each("[data-poll]", (panel) => fresh.set(panel.id, beat.now * 1000));
      tellTimes();
    });
    onJson("log", ({ list, oldest, html }) => {
      const rows = byId(list);
      if (!rows) return;
      for (const row of [...new DOMParser().parseFromString(html, "text/html").body.children]) {
        const known = byId(row.id);
        if (known) known.replaceWith(row); else rows.append(row);
      }
      while (rows.firstElementChild?.id.split("-").pop() < oldest) rows.firstElementChild.remove();
    });
    onJson("notify", ({ title, body, tag }) => { if (release) new Notification(title, { body, tag }); });
    onJson("error", ({ message, vm }) => {
      const banner = byId("sse-error-banner");
      if (turnedAway) return;
      banner.textContent = vm ? `${vm}: ${message}` : message;
      banner.hidden = false;
      clearTimeout(bannerTimer);
      bannerTimer = setTimeout(() => { banner.hidden = true; }, BANNER_MS);
    });
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) return release ? undefined : (hangUp(), show(polling ? state : "disconnected"));
      if (state !== "connected") downAt = Date.now();
      bidden = false;
      connect();
      poll();
    });
    window.addEventListener("online", () => bidden || connect());
    retry.addEventListener("click", () => { attempt = misses = 0; bidden = false; connect(); });
    ask?.addEventListener("click", () => Notification.requestPermission().then(() => { show(); lead(); }));
  }

  // Arrow keys go from step to step, but not where they move a caret or scroll a box.
  document.addEventListener("keydown", (event) => {
    const rel = { ArrowLeft: "prev", ArrowRight: "next" }[event.key];
    if (!rel || event.defaultPrevented || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    if (event.target.closest?.("input, select, textarea, [contenteditable]")) return;
    document.querySelector(`.step-nav a[rel="${rel}"]`)?.click();
  });

  document.addEventListener("replay:time", ({ detail }) => { keepTime(detail); tellTimes(); });

  document.addEventListener("scroll", ({ target: box }) => {
    if (box.dataset?.follow === undefined) return;
    scrolledUp[box.scrollHeight - box.scrollTop - box.clientHeight < 24 ? "delete" : "add"](box);
  }, true);

  document.addEventListener("DOMContentLoaded", () => {
    tellTimes();
    follow();
    reveal();
    observer.observe(document.body, { subtree: true, childList: true, characterData: true });
    setInterval(everySecond, 1000);
    document.body.addEventListener("htmx:finally:request", ({ target, detail }) => {
      if (!target.dataset.poll) return;
      const status = detail.ctx?.response?.status || 599;
      if ([401, 403].includes(status)) turnAway(status);
      restUntil = Math.max(restUntil, Date.now() + waitOf(detail.ctx?.response));
      if (status === 429) return;  // it works, later
      pollsWork = status < 400;
      if (pollsWork) fresh.set(target.id, now());
      show();
    });
    if (address) new MutationObserver(move).observe(address, { attributes: true });
    if (canStream) { listen(); connect(); } else if (document.querySelector("[data-poll]")) startPolling();
  });
})();
