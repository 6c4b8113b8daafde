// What the page adds where scripts run. Without them every link still leads somewhere: a file
// beside the page, or a part of it.
"use strict";

const all = (selector) => [...document.querySelectorAll(selector)];
for (const each of all(".scripted")) each.hidden = false;

function say(text) {
  document.getElementById("said").textContent = text;
}

// The drawer of a cell: a dialog, so that the keyboard stays inside and Escape closes it.
for (const link of all("a.open")) {
  link.setAttribute("aria-haspopup", "dialog");
  link.addEventListener("click", (event) => {
    event.preventDefault();
    document.getElementById(link.hash.slice(1)).showModal();
  });
}
for (const dialog of all("dialog")) {
  dialog.addEventListener("click", (event) => {
    const box = dialog.getBoundingClientRect();
    const outside =
      event.clientX < box.left || event.clientX > box.right ||
      event.clientY < box.top || event.clientY > box.bottom;
    if ((outside && event.detail) || event.target.closest(".close")) {
      event.preventDefault();
      dialog.close();
    }
  });
}

// Copy a text of the page: a template's, or that of any other element.
for (const link of all("[data-copy]")) {
  link.addEventListener("click", async (event) => {
    const source = document.getElementById(link.dataset.copy);
    const text = (source.content ?? source).textContent;
    event.preventDefault();
    try {
      await navigator.clipboard.writeText(text);
      say(`${link.textContent.replace("Copy ", "")} copied`);
    } catch {
      // No clipboard, as in a page opened from disk in some browsers: show the text to select it.
      const box = document.createElement("dialog");
      const area = document.createElement("textarea");
      area.value = text;
      area.setAttribute("aria-label", "Text to copy");
      box.append(area);
      document.body.append(box);
      box.addEventListener("close", () => box.remove());
      box.showModal();
      area.select();
    }
  });
}

// Save a figure as the file that `triptych board --figures` writes.
for (const link of all("[data-save]")) {
  link.addEventListener("click", (event) => {
    event.preventDefault();
    const svg = link.closest("figure").querySelector("svg");
    const file = document.createElement("a");
    file.href = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(new XMLSerializer().serializeToString(svg))}`;
    file.download = `${link.dataset.save}.svg`;
    file.click();
  });
}

// Ticks hide losses and tasks in every section. What is hidden is kept in the address:
// #hide=METHOD/LOSS&hide=TASK.
const boxes = all("#ticks input");
const keyOf = (element) => element.dataset.row ?? element.dataset.task;

function draw() {
  const hidden = new Set(boxes.filter((box) => !box.checked).map(keyOf));
  for (const element of all("[data-row], [data-task]")) {
    if (element.matches("input")) continue;
    const off = hidden.has(element.dataset.row) || hidden.has(element.dataset.task);
    element.classList.toggle("off", off);
  }
}

function read() {
  if (location.hash && !location.hash.startsWith("#hide=")) return;
  const hidden = new URLSearchParams(location.hash.slice(1)).getAll("hide");
  for (const box of boxes) box.checked = !hidden.includes(keyOf(box));
  draw();
}

for (const box of boxes) {
  box.addEventListener("change", () => {
    const hidden = boxes.filter((each) => !each.checked).map((each) => ["hide", keyOf(each)]);
    const hash = hidden.length ? `#${new URLSearchParams(hidden)}` : location.pathname;
    history.replaceState(null, "", hash);
    draw();
  });
}
addEventListener("hashchange", read);
read();

// On a phone the matrix shows one task at a time.
const one = document.getElementById("one-task");
function choose() {
  for (const element of all("#matrix [data-task]")) {
    element.classList.toggle("other", element.dataset.task !== one.value);
  }
}
one.addEventListener("change", choose);
choose();

// A heading of a folded table sorts its rows: by the numbers behind the cells, else by their texts.
for (const heading of all("main details th[scope=col]")) {
  const button = document.createElement("button");
  button.append(...heading.childNodes);
  heading.append(button);
  button.addEventListener("click", () => {
    const up = heading.getAttribute("aria-sort") !== "ascending";
    const body = heading.closest("table").tBodies[0];
    const cell = (row) => row.cells[heading.cellIndex];
    const compare = (a, b) => {
      const [x, y] = [cell(a).dataset.sort, cell(b).dataset.sort];
      if (x === undefined && y === undefined) {
        const order = cell(a).textContent.localeCompare(cell(b).textContent);
        return up ? order : -order;
      }
      if (x === undefined || y === undefined) return x === undefined ? 1 : -1; // None comes last.
      return up ? x - y : y - x;
    };
    const rows = [...body.rows].sort(compare);
    for (const each of heading.parentNode.cells) each.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", up ? "ascending" : "descending");
    body.append(...rows);
  });
}
