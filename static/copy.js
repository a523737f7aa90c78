// A key that is shown once: a click selects it, a button copies it where the browser lets pages do that (HTTPS or this machine).
(() => {
  "use strict";
  for (const button of document.querySelectorAll("[data-copy]")) {
    const field = document.getElementById(button.dataset.copy);
    field.addEventListener("focus", () => field.select());
    if (document.activeElement === field) field.select();
    if (!navigator.clipboard) continue;
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(field.value).then(() => { button.textContent = "Copied"; }, () => field.select());
    });
  }
})();
