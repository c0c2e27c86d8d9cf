"use strict";
// Shared by the scripts of several pages. Sizes and waits are formatted as in dfd/web/pages/wording.py.
const dfd = {
  size(bytes) {
    if (bytes < 1024) return `${bytes} bytes`;
    for (const unit of ["KiB", "MiB"]) {
      bytes /= 1024;
      if (bytes < 1024) return `${bytes.toFixed(1)} ${unit}`;
    }
    return `${(bytes / 1024).toFixed(1)} GiB`;
  },

  // A countdown, so seconds are shown to the end.
  wait(seconds) {
    if (seconds < 90) return `${seconds} second${seconds === 1 ? "" : "s"}`;
    return `${Math.round(seconds / 60)} minutes`;
  },

  percent(share) {
    return Math.floor(100 * share);
  },

  // The server writes times in UTC; here they are converted to the reader's time zone.
  localTimes(root) {
    const shown = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short" });
    for (const time of root.querySelectorAll("time[datetime]")) {
      time.title = time.textContent;
      time.textContent = shown.format(new Date(time.dateTime));
    }
  },

  async json(url, options) {
    const headers = { Accept: "application/json" };
    const response = await fetch(url, { headers, cache: "no-store", ...options });
    const body = await response.json().catch(() => ({}));
    return { status: response.status, body, retryAfter: response.headers.get("Retry-After") };
  },
};

dfd.localTimes(document);
