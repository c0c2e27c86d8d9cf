"use strict";
// Makes the heads of a table of jobs into buttons that sort it. Without this script its order is that of the server.
(() => {
  const names = new Intl.Collator(undefined, { numeric: true });

  function valueOf(row, column) {
    const cell = row.cells[column];
    return cell.dataset.value === undefined ? cell.querySelector("a").textContent : cell.dataset.value;
  }

  function compare(kind, column, sign) {
    return (one, other) => {
      const [a, b] = [valueOf(one, column), valueOf(other, column)];
      if (a === "" || b === "") return (a === "") - (b === ""); // unknown values come last in either order
      return sign * (kind === "number" ? a - b : names.compare(a, b));
    };
  }

  for (const table of document.querySelectorAll("table[data-sortable]")) {
    const heads = Array.from(table.tHead.rows[0].cells);
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
        const rows = Array.from(table.tBodies[0].rows);
        table.tBodies[0].append(...rows.sort(compare(kind, column, next === "ascending" ? 1 : -1)));
        const said = document.getElementById("said");
        if (said) said.textContent = `Sorted by ${button.textContent}, ${next}`;
      });
    });
  }
})();
