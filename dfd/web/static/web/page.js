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

  // The server writes times in UTC; here the reader's own time is added, with its zone.
  localTimes(root) {
    const shown = new Intl.DateTimeFormat("en-GB", {
      day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", timeZoneName: "short",
    });
    for (const time of root.querySelectorAll("time[datetime]")) {
      const local = shown.format(new Date(time.dateTime));
      if (!local.endsWith("UTC")) time.textContent += ` (${local})`;
    }
  },

  async json(url, options) {
    const headers = { Accept: "application/json" };
    const response = await fetch(url, { headers, cache: "no-store", ...options });
    const body = await response.json().catch(() => ({}));
    return { status: response.status, body, retryAfter: response.headers.get("Retry-After") };
  },
};

// A browser without the codec shows an empty player, so it is replaced by a sentence.
for (const video of document.querySelectorAll("[data-video]")) {
  const replace = () => {
    video.hidden = true;
    video.parentElement.querySelector("[data-unplayable]").hidden = false;
  };
  video.addEventListener("error", replace);
  if (video.error || !video.canPlayType("video/mp4; codecs=\"avc1.64001F\"")) replace();
}

dfd.localTimes(document);
