"use strict";
// Sorts and filters the table. Without this script the page shows everything in its original order.
(() => {
  const table = document.getElementById("videos");
  if (!table) return;
  const body = table.tBodies[0];
  const rows = Array.from(body.rows).map((row) => ({
    row,
    cells: Array.from(row.cells),
    section: document.getElementById(row.dataset.for),
    text: row.textContent.toLowerCase(),
  }));

  const heads = Array.from(table.tHead.rows[0].cells);
  const order = document.getElementById("order");
  const names = new Intl.Collator(undefined, { numeric: true });

  function compare(kind, column, sign) {
    if (kind === "text") {
      return (a, b) => sign * names.compare(a.cells[column].textContent, b.cells[column].textContent);
    }
    return (a, b) => {
      const [x, y] = [a, b].map((one) => one.cells[column].dataset.value);
      if (x === "" || y === "") return (x === "") - (y === ""); // unknown values come last in either order
      return sign * (x - y);
    };
  }

  heads.forEach((head, column) => {
    const kind = head.dataset.sort;
    if (!kind) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const now = head.getAttribute("aria-sort");
      const next = now ? (now === "ascending" ? "descending" : "ascending") : kind === "text" ? "ascending" : "descending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", next);
      rows.sort(compare(kind, column, next === "ascending" ? 1 : -1));
      body.append(...rows.map((one) => one.row));
      order.textContent = `Sorted by ${head.textContent.trim().toLowerCase()}, ${next}.`;
    });
  });

  const form = document.getElementById("filter");
  const words = document.getElementById("words");
  const shown = document.getElementById("shown");
  const choices = Array.from(form.querySelectorAll("input[name=verdict]"));

  function filter() {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    const verdicts = new Set(choices.filter((choice) => choice.checked).map((choice) => choice.value));
    let count = 0;
    for (const one of rows) {
      const fits = verdicts.has(one.row.dataset.verdict) && wanted.every((word) => one.text.includes(word));
      one.row.classList.toggle("filtered", !fits);
      if (one.section) one.section.classList.toggle("filtered", !fits);
      if (fits) count += 1;
    }
    shown.textContent = count === rows.length ? `All ${count} shown` : `${count} of ${rows.length} shown`;
  }

  form.hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", filter);
  filter();

  // A link to a filtered-out video would lead nowhere.
  window.addEventListener("hashchange", () => {
    const section = location.hash.startsWith("#video-") && document.getElementById(location.hash.slice(1));
    if (section) section.classList.remove("filtered");
  });

  // In print nothing is collapsed, but for the settings.
  let folded = [];
  window.addEventListener("beforeprint", () => {
    folded = Array.from(document.querySelectorAll("details:not([open]):not(.experts)"));
    for (const one of folded) one.open = true;
  });
  window.addEventListener("afterprint", () => {
    for (const one of folded) one.open = false;
  });
})();
