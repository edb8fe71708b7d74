// Puts values into the document, always as text.

import { visible } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

export function setText(node, text) {
  const shown = visible(String(text));
  if (node.textContent !== shown) node.textContent = shown;
}

export function setAttributes(node, attributes) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

export function element(name, attributes = {}, ...children) {
  const node = setAttributes(document.createElement(name), attributes);
  node.append(...children);
  return node;
}

export function drawn(name, attributes, ...children) {
  const node = setAttributes(document.createElementNS(SVG, name), attributes);
  node.append(...children);
  return node;
}

// A table that keeps the element of each row from snapshot to snapshot, so that focus and selection are not lost.
// It names the ARIA roles because on a phone the rows are laid out as cards, which would lose them.
export class Table {
  #columns;
  #heads;
  #order = ""; // by which the rows are sorted
  #onSort = () => {};
  #body = element("tbody", { role: "rowgroup" });
  #rows = new Map();

  // columns: a list of [label, fill(cell, record), class, sort, isInverse]; sort is the order that the head of the
  // column asks for at first, with `-` in front if the largest come first; isInverse: the cells fall where it rises
  constructor(table, columns) {
    this.#columns = columns;
    this.#heads = columns.map(([label, , kind = "", sort]) => {
      const head = element("th", { scope: "col", role: "columnheader", class: kind }, sort ? "" : label);
      if (sort) head.append(this.#sortButton(label, sort));
      return head;
    });
    const head = element("thead", { role: "rowgroup" }, element("tr", { role: "row" }, ...this.#heads));
    setAttributes(table, { role: "table" }).replaceChildren(head, this.#body);
  }

  // Calls `onSort` with the order that the visitor asks for.
  sortBy(onSort) {
    this.#onSort = onSort;
  }

  // Shows by which column the rows are sorted.
  markSorted(order) {
    this.#columns.forEach(([, , , sort, isInverse = false], column) => {
      const falls = order.startsWith("-") !== isInverse;
      if (!sort || bare(sort) !== bare(order)) this.#heads[column].removeAttribute("aria-sort");
      else this.#heads[column].setAttribute("aria-sort", falls ? "descending" : "ascending");
    });
    this.#order = order;
  }

  show(records, keyOf) {
    const wanted = new Map(records.map((record) => [keyOf(record), record]));
    for (const [key, row] of this.#rows) {
      if (!wanted.has(key)) {
        row.remove();
        this.#rows.delete(key);
      }
    }
    let place = 0;
    for (const [key, record] of wanted) {
      const row = this.#rows.get(key) ?? this.#add(key);
      this.#columns.forEach(([, fill], column) => fill(row.children[column], record));
      if (this.#body.children[place] !== row) this.#body.insertBefore(row, this.#body.children[place] ?? null);
      place += 1;
    }
  }

  #sortButton(label, sort) {
    const button = element("button", { type: "button", class: "sort" }, label);
    button.addEventListener("click", () => {
      const other = sort.startsWith("-") ? bare(sort) : `-${sort}`;
      this.#onSort(this.#order === sort ? other : sort);
    });
    return button;
  }

  #add(key) {
    const cells = this.#columns.map(([label, , kind = ""], column) =>
      column === 0
        ? element("th", { scope: "row", role: "rowheader", class: kind })
        : element("td", { role: "cell", class: kind, "data-label": label }),
    );
    const row = element("tr", { role: "row" }, ...cells);
    this.#rows.set(key, row);
    return row;
  }
}

const bare = (order) => order.replace("-", "");

export const says = (read) => (cell, record) => setText(cell, read(record));
