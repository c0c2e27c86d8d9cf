"use strict";
// Updates the shown jobs until they are finished. Without this script the page of a job reloads itself.
(() => {
  const single = document.getElementById("job");
  const said = single ? single.querySelector("[data-said]") : document.getElementById("said");
  const PAUSE = single ? 1000 : 2000;
  const PAUSE_HIDDEN = 10000;
  const LONGEST_PAUSE = 30000;
  let failures = 0;
  let timer = 0;
  let isAsking = false;

  function live() {
    return Array.from(document.querySelectorAll("[data-state-url]"));
  }

  function show(one, job) {
    const line = one.querySelector("[data-line]");
    const percent = one.querySelector("[data-percent]");
    const bar = one.querySelector("[data-bar]");
    const isQueued = job.state === "queued";
    line.textContent = job.line;
    percent.hidden = !job.progress;
    percent.textContent = `${single ? "" : ", "}${dfd.percent(job.progress)} %`;
    if (job.progress || isQueued) bar.value = job.progress;
    else bar.removeAttribute("value"); // running, without known progress
    if (!single) bar.hidden = isQueued;
  }

  function showStage(job) {
    const current = job.state === "running" ? 2 : 1;
    single.querySelectorAll(".stages li").forEach((item, index) => {
      item.classList.toggle("past", index < current);
      item.toggleAttribute("aria-current", false);
      if (index === current) item.setAttribute("aria-current", "step");
      item.querySelector(".dot").textContent = index < current ? "✓" : index + 1;
    });
    const begin = job.state === "running" ? `${dfd.percent(job.progress)} %` : "Waits";
    document.title = `${begin} – ${job.file_name} – dfd`;
  }

  // Screen readers announce a new stage and each quarter, not every second.
  function announce(one, job) {
    const quarter = Math.floor(4 * job.progress);
    const news = `${job.state} ${job.stage}`;
    if (one.dataset.news !== undefined && one.dataset.news !== news) said.textContent = job.line;
    else if (one.dataset.quarter !== undefined && quarter > Number(one.dataset.quarter)) said.textContent = `${25 * quarter} % done`;
    one.dataset.news = news;
    one.dataset.quarter = quarter;
  }

  function gone(one) {
    one.removeAttribute("data-state-url");
    one.querySelector("[data-line]").textContent = "This no longer exists: it was deleted or has expired.";
    one.querySelector("[data-percent]").hidden = true;
    one.querySelector("[data-bar]").hidden = true;
    said.textContent = "This no longer exists.";
    for (const form of one.querySelectorAll("form")) form.hidden = true;
  }

  // The row of a finished job comes from the server, since only the server renders verdicts.
  async function replaceRow(row) {
    const response = await fetch(location.pathname, { cache: "no-store" });
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const fresh = page.getElementById(row.id);
    if (!fresh) {
      gone(row);
      return;
    }
    const hadFocus = row.contains(document.activeElement);
    dfd.localTimes(fresh);
    row.replaceWith(fresh);
    if (hadFocus) fresh.querySelector("a").focus();
    const badge = fresh.querySelector(".badge");
    const howFar = page.getElementById("how-far");
    const actions = page.querySelector(".toolbar .actions");
    if (document.querySelector("[data-reload-when-over]") && howFar && actions) {
      document.getElementById("how-far").replaceWith(howFar);
      document.querySelector(".toolbar .actions").replaceWith(actions);
    }
    if (badge) said.textContent = `${fresh.querySelector("bdi").textContent}: ${badge.lastChild.textContent.trim()}`;
  }

  async function look(one) {
    const { status, body: job } = await dfd.json(one.dataset.stateUrl);
    if (status === 404) {
      gone(one);
      return;
    }
    if (status !== 200) throw new Error(`status ${status}`);
    if (job.state === "done" || job.state === "failed") {
      if (single) location.reload();
      else await replaceRow(one);
      return;
    }
    show(one, job);
    if (single) {
      showStage(job);
      announce(one, job);
    }
  }

  async function ask() {
    clearTimeout(timer);
    if (isAsking) return;
    isAsking = true;
    try {
      for (const one of live()) await look(one); // one after the other, so that many jobs do not cause many requests at once
      failures = 0;
    } catch {
      failures += 1;
      if (single && failures === 3) {
        single.querySelector("[data-line]").textContent = "The server does not answer. Asking again…";
        said.textContent = "The server does not answer.";
      }
    }
    isAsking = false;
    if (live().length) timer = setTimeout(ask, Math.min(LONGEST_PAUSE, (document.hidden ? PAUSE_HIDDEN : PAUSE) * 2 ** failures));
  }

  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) ask();
  });
  if (live().length) timer = setTimeout(ask, PAUSE);
})();
