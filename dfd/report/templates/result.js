"use strict";
// Adds the reader's own time to those in UTC, and unfolds everything in print.
(() => {
  const shown = new Intl.DateTimeFormat("en-GB", {
    day: "numeric", month: "long", year: "numeric", hour: "2-digit", minute: "2-digit", timeZoneName: "short",
  });
  for (const time of document.querySelectorAll("time[datetime]")) {
    const local = shown.format(new Date(time.dateTime));
    if (!local.endsWith("UTC")) time.textContent += ` (${local})`;
  }
  let folded = [];
  window.addEventListener("beforeprint", () => {
    folded = Array.from(document.querySelectorAll("details:not([open])"));
    for (const one of folded) one.open = true;
  });
  window.addEventListener("afterprint", () => {
    for (const one of folded) one.open = false;
  });
})();
