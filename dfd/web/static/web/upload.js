"use strict";
// Sends each chosen file by itself and shows the progress. Without this script the form sends all of them at once.
(() => {
  const form = document.getElementById("send");
  const zone = form.querySelector(".drop");
  const input = document.getElementById("video");
  const list = document.getElementById("files");
  const button = document.getElementById("submit");
  const results = document.getElementById("results");
  const said = document.getElementById("said");
  const alerted = document.getElementById("alert");
  const problem = document.getElementById("problem");
  const maxBytes = Number(form.dataset.maxBytes);
  const maxFiles = Number(form.dataset.maxFiles);
  const AT_ONCE = 2;
  const MAX_TRIES = 6;
  const FORM_BYTES = 2048; // approximate overhead of the form
  const COME_BACK = [429, 503];
  const GUESSED_RETRY_SECONDS = 30;
  const FOLLOW_MS = 2000;

  // chosen -> queued -> sending or waiting -> taken, refused or stopped
  const rows = [];
  let asking = Promise.resolve();

  const count = (...states) => rows.filter((row) => states.includes(row.state)).length;
  const isBusy = () => count("queued", "sending", "waiting") > 0;

  function element(name, className, text = "") {
    const made = document.createElement(name);
    made.className = className;
    made.textContent = text;
    return made;
  }

  class Row {
    constructor(file, problem) {
      this.file = file;
      this.state = "chosen";
      this.item = element("li", "");
      const name = element("div", "name");
      name.append(element("bdi", "", file.name), element("span", "size", dfd.size(file.size)));
      this.says = element("p", "says");
      this.deeds = element("div", "deeds");
      this.bar = element("progress", "");
      this.bar.max = 1;
      this.bar.value = 0;
      this.bar.hidden = true;
      this.bar.setAttribute("aria-label", `${file.name}: sent`);
      this.item.append(name, this.says, this.deeds, this.bar);
      list.append(this.item);
      if (problem) this.refuse(problem);
      else this.offer("Remove", () => this.remove());
    }

    become(state, text, sign = "") {
      this.state = state;
      this.item.className = state;
      this.says.replaceChildren();
      if (sign) {
        const mark = element("span", "sign", sign);
        mark.setAttribute("aria-hidden", "true");
        this.says.append(mark);
      }
      this.says.append(text);
      this.bar.hidden = state !== "sending";
      update();
    }

    // The only action possible now.
    offer(word, deed) {
      const hadFocus = this.deeds.contains(document.activeElement);
      this.deeds.replaceChildren();
      if (!word) return;
      const made = element("button", "button tiny", word);
      made.type = "button";
      made.setAttribute("aria-label", `${word}: ${this.file.name}`);
      made.addEventListener("click", deed);
      this.deeds.append(made);
      if (hadFocus) made.focus();
    }

    remove() {
      rows.splice(rows.indexOf(this), 1);
      this.item.remove();
      said.textContent = `${this.file.name} removed`;
      input.focus();
      update();
    }

    enqueue() {
      this.turn = {};
      this.become("queued", "Is sent next");
      this.offer("Cancel", () => this.cancel());
    }

    cancel() {
      this.turn = null;
      if (this.abort) this.abort();
      this.stop("Cancelled");
      sendNext();
    }

    stop(text) {
      this.become("stopped", text);
      this.offer("Send it again", () => {
        this.enqueue();
        sendNext();
      });
    }

    refuse(text) {
      // The server names the file, but here its name is above.
      const prefix = `${this.file.name}: `;
      const why = text.startsWith(prefix) ? text.slice(prefix.length) : text;
      this.become("refused", why.charAt(0).toUpperCase() + why.slice(1), "✕");
      this.offer("Remove", () => this.remove());
      alerted.textContent = `${this.file.name}: ${why}`;
    }

    take(url) {
      this.url = url;
      this.become("taken", "Has arrived and waits to be scored", "✓");
      setTimeout(() => this.follow(), FOLLOW_MS);
      const link = element("a", "button tiny", "Open");
      link.href = url;
      link.setAttribute("aria-label", `Open: ${this.file.name}`);
      this.deeds.replaceChildren(link);
      said.textContent = `${this.file.name} has arrived`;
    }

    // Keeps the line about a video up to date until it is scored.
    async follow() {
      const { status, body: job } = await dfd.json(`${this.url}state`).catch(() => ({ status: 0 }));
      const isOver = status === 404 || (status === 200 && ["done", "failed"].includes(job.state));
      if (status === 404) this.become("taken", "No longer here");
      else if (status === 200) {
        const words = { done: "Scored: open it to see what was found", failed: "Could not be scored: open it to see why" };
        const percent = job.progress ? `, ${dfd.percent(job.progress)} %` : "";
        this.become("taken", words[job.state] || `${job.line}${percent}`, "✓");
      }
      if (!isOver) setTimeout(() => this.follow(), document.hidden ? 5 * FOLLOW_MS : FOLLOW_MS);
    }
  }

  function problemOf(file) {
    if (file.size > maxBytes) {
      return `this file is larger than ${form.dataset.maxMb} MiB, the most that is accepted here; cut or re-encode the video`;
    }
    if (rows.filter((row) => row.state !== "refused").length >= maxFiles) {
      return `only ${maxFiles} files are accepted at once; send it again`;
    }
    return file.size ? "" : "the file is empty";
  }

  function add(files) {
    alerted.textContent = "";
    problem.textContent = "";
    const isNew = (file) => !rows.some(
      ({ file: known }) => known.name === file.name && known.size === file.size && known.lastModified === file.lastModified,
    );
    for (const file of Array.from(files).filter(isNew)) rows.push(new Row(file, problemOf(file)));
    const number = count("chosen");
    said.textContent = `${number} file${number === 1 ? "" : "s"} chosen`;
    update();
  }

  function update() {
    const number = count("chosen");
    const isSending = isBusy();
    list.hidden = !rows.length;
    button.textContent = isSending && !number ? "Sending…" : number > 1 ? `Send and score ${number} videos` : "Send and score";
    button.disabled = isSending && !number;
    results.hidden = !count("taken");
    if (count("taken") > 1) {
      results.href = form.dataset.batch;
      results.textContent = "All of them in one table";
    }
    // The next action is highlighted.
    results.classList.toggle("main", !number && !isSending);
    button.classList.toggle("main", number > 0 || isSending || results.hidden);
  }

  // One request at a time: the first response sets the cookie that identifies this browser.
  function mayUpload(row) {
    const url = `${form.dataset.mayUpload}?bytes=${row.file.size + FORM_BYTES}`;
    const answer = asking.then(() => dfd.json(url));
    asking = answer.catch(() => {});
    return answer;
  }

  // ``turn`` is one attempt to send a row; a cancelled one may briefly overlap with the next.
  function post(row, turn) {
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      row.abort = () => request.abort();
      request.open("POST", form.action);
      request.setRequestHeader("Accept", "application/json");
      request.responseType = "json";
      request.upload.addEventListener("progress", (event) => {
        if (!event.lengthComputable || row.turn !== turn) return;
        const share = event.loaded / event.total;
        row.bar.value = share;
        row.says.textContent = share < 1 ? `Sending, ${dfd.percent(share)} %` : "Sent. The server looks at it";
      });
      request.addEventListener("load", () => {
        resolve({ status: request.status, body: request.response || {}, retryAfter: request.getResponseHeader("Retry-After") });
      });
      for (const event of ["error", "abort", "timeout"]) request.addEventListener(event, () => reject(new Error(event)));
      const data = new FormData();
      data.append("csrfmiddlewaretoken", form.elements.csrfmiddlewaretoken.value);
      for (const name of ["batch", "span", "full"]) {
        const field = form.elements[name];
        if (field && field.value && (field.type !== "checkbox" || field.checked)) data.append(name, field.value);
      }
      data.append("video", row.file, row.file.name);
      request.send(data);
    });
  }

  function pause(row, seconds, why) {
    return new Promise((resolve) => {
      const ends = Date.now() + 1000 * seconds;
      row.become("waiting", "");
      said.textContent = `${row.file.name}: ${why} Trying again.`;
      const timer = setInterval(tick, 1000);
      function end() {
        clearInterval(timer);
        resolve();
      }
      function tick() {
        const left = Math.ceil((ends - Date.now()) / 1000);
        if (left <= 0 || row.state !== "waiting") end();
        else row.says.textContent = `${why} Trying again in ${dfd.wait(left)}.`;
      }
      row.abort = end;
      tick();
    });
  }

  async function send(row, turn) {
    for (let tries = 1; row.turn === turn; tries += 1) {
      row.abort = null;
      row.bar.value = 0;
      row.become("sending", "Asks whether there is room");
      let answer = await mayUpload(row);
      if (row.turn !== turn) return;
      if (answer.status === 200) answer = await post(row, turn);
      if (answer.status === 201) {
        row.take(answer.body.jobs[0].url);
        return;
      }
      const why = answer.body.error || (answer.body.refusals || [])[0] || `The server answered with status ${answer.status}.`;
      if (!COME_BACK.includes(answer.status) || tries === MAX_TRIES) {
        row.refuse(why);
        return;
      }
      await pause(row, answer.body.retry_seconds || Number(answer.retryAfter) || GUESSED_RETRY_SECONDS, why);
    }
  }

  async function sendAndGoOn(row) {
    const { turn } = row;
    try {
      await send(row, turn);
    } catch {
      // Also called after the browser's own abort, when the row already says "Cancelled".
      if (row.turn === turn) {
        row.stop("The connection was interrupted");
        alerted.textContent = `${row.file.name}: the connection was interrupted`;
      }
    }
    sendNext();
  }

  function sendNext() {
    while (count("sending", "waiting") < AT_ONCE) {
      const next = rows.find((row) => row.state === "queued");
      if (!next) break;
      sendAndGoOn(next); // its state is "sending" from here on
    }
    if (rows.length === 1 && rows[0].state === "taken") location.assign(rows[0].url);
    else if (!isBusy() && count("taken") > 1) said.textContent = `${count("taken")} videos have arrived. A link to all of them is below.`;
  }

  form.noValidate = true; // the files are in the list, not in the field
  input.addEventListener("change", () => {
    add(input.files);
    input.value = "";
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const span = form.elements.span;
    if (!span.checkValidity()) {
      problem.textContent = "Write the part as 0:40-1:00.";
      span.closest("details").open = true;
      span.focus();
      return;
    }
    const chosen = rows.filter((row) => row.state === "chosen");
    if (!chosen.length) {
      problem.textContent = "No file was chosen.";
      input.focus();
      return;
    }
    problem.textContent = "";
    for (const row of chosen) row.enqueue();
    sendNext();
  });
  for (const name of ["dragenter", "dragover"]) {
    window.addEventListener(name, (event) => {
      if (!event.dataTransfer.types.includes("Files")) return;
      event.preventDefault(); // otherwise the browser leaves the page and plays the file
      zone.classList.add("over");
    });
  }
  window.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) zone.classList.remove("over");
  });
  window.addEventListener("drop", (event) => {
    event.preventDefault();
    zone.classList.remove("over");
    add(event.dataTransfer.files);
  });
  window.addEventListener("beforeunload", (event) => {
    if (isBusy()) event.preventDefault();
  });
  update();
})();
