// The import dialog: sends what was chosen, shows the job by a stream of its own, and lets go of it when it is closed.
(() => {
  "use strict";
  const byId = (id) => document.getElementById(id);
  const dialog = byId("import-dialog"), form = byId("import-form"), job = byId("import-job");
  if (!dialog || !form) return;
  const bar = byId("import-progress"), state = byId("import-state"), error = byId("import-error"), runs = byId("import-runs");
  const cancel = byId("import-cancel"), again = byId("import-again"), note = byId("import-note");
  let stream = null, jobId = "", upload = null;

  const chosen = () => form.elements.source.value;
  const type = (name) => (/\.zip$/i.test(name) ? "application/zip" : "application/octet-stream");

  function letGo() {
    stream?.close();
    stream = null;
  }

  function fail(message) {
    letGo();
    error.textContent = message;
    error.hidden = false;
    state.textContent = "Not imported";
    cancel.hidden = note.hidden = true;
    again.hidden = false;
  }

  function done({ result }) {
    letGo();
    bar.value = 100;
    const changed = result.new + result.changed;
    state.textContent = `${result.tasks} tasks, ${result.steps} steps${changed ? "" : "; all of it was here already"}`;
    for (const run of result.runs) {
      const link = Object.assign(document.createElement("a"), { href: run.url, textContent: run.name });
      runs.append(Object.assign(document.createElement("li"), {}));
      runs.lastChild.append(link);
    }
    for (const text of result.notes) runs.append(Object.assign(document.createElement("li"), { textContent: text, className: "quiet" }));
    cancel.hidden = note.hidden = true;
    again.hidden = false;
    (runs.querySelector("a") || again).focus();
  }

  function watch() {
    letGo();
    stream = new EventSource(`/api/jobs/${jobId}/stream`);
    stream.addEventListener("progress", ({ data }) => {
      const told = JSON.parse(data);
      bar.value = told.progress;
      state.textContent = told.detail || (told.status === "pending" ? "Waits for another import" : "Begins");
    });
    stream.addEventListener("completed", ({ data }) => done(JSON.parse(data)));
    stream.addEventListener("failed", ({ data }) => fail(JSON.parse(data).error));
  }

  function begin() {
    form.hidden = true;
    job.hidden = false;
    runs.replaceChildren();
    error.hidden = again.hidden = true;
    cancel.hidden = note.hidden = false;
    bar.value = 0;
    state.textContent = "Begins";
    cancel.focus();
  }

  function send(url, headers, body, isUpload) {
    const request = new XMLHttpRequest();
    request.open("POST", url);
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.responseType = "json";
    if (isUpload) {
      upload = request;
      note.hidden = true;
      request.upload.onprogress = ({ loaded, total }) => {
        bar.value = total ? (100 * loaded) / total : 0;
        state.textContent = `Sending, ${(loaded / 1e6).toFixed(1)} of ${(total / 1e6).toFixed(1)} MB`;
      };
    }
    request.onloadend = () => {
      upload = null;
      note.hidden = false;
      if (request.status === 202) {
        jobId = request.response.job_id;
        return watch();
      }
      fail(request.response?.error?.message || (request.status ? `The server answered ${request.status}` : "The server cannot be reached"));
    };
    request.send(body);
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const label = form.elements.label.value.trim(), file = form.elements.file.files[0], source = chosen();
    begin();
    if (source === "archive") {
      if (!file) return fail("Choose an archive first.");
      const query = new URLSearchParams({ name: file.name, ...(label && { label }) });
      return send(`/api/traces/import?${query}`, { "Content-Type": type(file.name) }, file, true);
    }
    const body = { path: form.elements.path.value.trim(), ...(label && { label }) };
    if (source === "vm") Object.assign(body, { vm: form.elements.vm.value, inner: form.elements.inner.checked });
    return send("/api/traces/import", { "Content-Type": "application/json" }, JSON.stringify(body), false);
  });

  cancel.addEventListener("click", () => {
    if (upload) return upload.abort();
    if (jobId) fetch(`/api/jobs/${jobId}`, { method: "DELETE" });
  });
  again.addEventListener("click", () => {
    form.hidden = false;
    job.hidden = true;
    form.elements.path.focus();
  });
  dialog.addEventListener("close", () => {
    letGo();
    if (!again.hidden) again.click();
  });
  document.querySelectorAll("[data-import]").forEach((link) => link.addEventListener("click", (event) => {
    event.preventDefault();
    if (jobId && !job.hidden && again.hidden) watch();
    dialog.showModal();
  }));
  if (new URLSearchParams(location.search).has("import")) dialog.showModal();
})();
