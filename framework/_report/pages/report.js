"use strict";
// A click on a column's head, or Enter or Space on it, sorts by the column; another one the other way round.
const number = (text) => parseFloat(text.replaceAll(",", "").replace("−", "-"));
const sign = { ascending: 1, descending: -1 };

function sort(table, head) {
  const column = head.cellIndex;
  const order = head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
  const words = head.classList.contains("words");
  const text = (row) => row.cells[column].textContent;
  const compare = (one, other) => {
    if (words) return sign[order] * text(one).localeCompare(text(other), "en", { numeric: true });
    const [a, b] = [number(text(one)), number(text(other))];
    if (isNaN(a) || isNaN(b)) return isNaN(a) - isNaN(b); // what is missing is last, either way
    return sign[order] * (a - b);
  };
  const body = table.tBodies[0];
  body.append(...[...body.rows].sort(compare));
  for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", order);
}

for (const table of document.querySelectorAll("table.sortable")) {
  for (const head of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.append(...head.childNodes);
    button.addEventListener("click", () => sort(table, head));
    head.append(button);
  }
}
