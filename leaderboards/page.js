"use strict";
// The page reads as it stands; this adds sorting, filters, provenance and figures.
// Texts from the data go to the page by textContent alone.
(() => {
  const root = document.documentElement;
  root.classList.add("js");
  const { figures, rows, baselines, records } = JSON.parse(document.getElementById("data").textContent);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const element = (tag, text, ...children) => {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    made.append(...children);
    return made;
  };

  // Sorting: by the number in data-value, else by the text; what is missing comes last.
  const collator = new Intl.Collator("en", { numeric: true });
  const textOf = (cell) => (cell.dataset.text ?? cell.textContent).trim();
  const keyOf = (cell) => {
    if (!("value" in cell.dataset)) return textOf(cell);
    return cell.dataset.value === "" ? null : Number(cell.dataset.value);
  };
  const compare = (a, b) => (typeof a === "number" ? a - b : collator.compare(a, b));

  function sort(table, head) {
    const direction = head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", direction);
    const sign = direction === "ascending" ? 1 : -1;
    const body = table.tBodies[0];
    const keyed = [...body.rows].map((row) => [keyOf(row.cells[head.cellIndex]), row]);
    keyed.sort(([a], [b]) =>
      a === null || b === null ? (a === null) - (b === null) : sign * compare(a, b));
    for (const [, row] of keyed) row.classList.remove("first");
    body.append(...keyed.map(([, row]) => row));
  }

  for (const table of all("table.sortable")) {
    for (const button of all("thead button", table)) {
      button.addEventListener("click", () => sort(table, button.closest("th")));
    }
  }

  // Filters of the leaderboard.
  const board = document.getElementById("leaderboard");
  const form = document.getElementById("filters");
  if (board && form) {
    const heads = [...board.tHead.rows[0].cells];
    const column = (name) => heads.findIndex((head) => head.dataset.key === name);
    const text = (row, name) => textOf(row.cells[column(name)]);
    const selects = all("select", form);
    const search = form.querySelector("input");
    const filter = () => {
      const wanted = search.value.trim().toLowerCase();
      let shown = 0;
      for (const row of board.tBodies[0].rows) {
        const fits = selects.every((s) => s.value === "" || s.value === text(row, s.name));
        row.hidden = !(fits && row.textContent.toLowerCase().includes(wanted));
        shown += !row.hidden;
      }
      const count = board.tBodies[0].rows.length;
      form.querySelector("output").textContent = `${shown} of ${count} rows`;
    };
    form.addEventListener("input", filter);
    form.addEventListener("submit", (event) => event.preventDefault());
    const original = [...board.tBodies[0].rows].map((row) => [row, row.className]);
    form.addEventListener("reset", () => {
      for (const head of heads) head.removeAttribute("aria-sort");
      for (const [row, look] of original) row.className = look;
      board.tBodies[0].append(...original.map(([row]) => row));
      setTimeout(filter);
    });
    filter(); // A browser keeps the choices when a page is loaded again.
  }

  // The records behind a row. A column is {at, values}, so that texts are kept once.
  const dialog = document.getElementById("provenance");
  const value = (name, record) => {
    const { at, values } = records[name];
    return values[at ? at[record] : record];
  };
  const readable = (raw) => {
    if (raw === null || raw === "") return "not recorded";
    if (raw === "{}") return "none";
    if (typeof raw !== "string" || !"{[".includes(raw[0])) return String(raw);
    try {
      return Object.entries(JSON.parse(raw))
        .map(([name, found]) =>
          `${name} = ${typeof found === "object" ? JSON.stringify(found) : found}`)
        .join("\n");
    } catch {
      return raw;
    }
  };

  // What all records share is said once, the rest in a table.
  function recordsBehind(found) {
    if (!found.length) return [element("p", "No record with a score is behind this row.")];
    const names = Object.keys(records);
    const own = ["seed", "value", "key"];
    const shared = names.filter((name) => !own.includes(name) &&
      new Set(found.map((record) => value(name, record))).size === 1);
    const list = element("dl");
    list.className = "same";
    for (const name of shared) {
      list.append(element("dt", name), element("dd", readable(value(name, found[0]))));
    }
    const columns = names.filter((name) => !shared.includes(name));
    const table = element("table", undefined,
      element("caption", `${found.length} records`),
      element("thead", undefined,
        element("tr", undefined, ...columns.map((name) => element("th", name)))),
      element("tbody", undefined, ...found.map((record) =>
        element("tr", undefined, ...columns.map((name) =>
          element("td", readable(value(name, record))))))));
    const scroll = element("div", undefined, table);
    scroll.className = "scroll";
    scroll.tabIndex = 0;
    return [scroll, element("p", "The same for all of them:"), list];
  }

  function showProvenance(row) {
    const place = row.dataset.row;
    dialog.querySelector("h2").textContent =
      [...row.cells].slice(0, 4).map(textOf).filter(Boolean).join(" · ");
    const parts = recordsBehind(rows[place]);
    if (baselines[place] !== null) {
      parts.push(element("h3", "The baseline's, which the difference is to"),
        ...recordsBehind(rows[baselines[place]]));
    }
    dialog.querySelector(".body").replaceChildren(...parts);
    dialog.showModal();
  }

  if (board) {
    board.tBodies[0].addEventListener("click", (event) => {
      if (event.target.closest(".open, td.number")) showProvenance(event.target.closest("tr"));
    });
  }
  dialog.querySelector("button").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());

  // Figures: drawn as they come near, in the colours of the page.
  const boxes = all(".plot");
  const off = new Set();
  const probe = document.body.appendChild(element("span"));
  probe.hidden = true;
  const colour = (name) => {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color;
  };

  function template() {
    const [ink, muted, line, raised] = ["ink", "muted", "line", "raised"].map(colour);
    const axis = {
      gridcolor: line, linecolor: line, zerolinecolor: muted, tickcolor: line,
      title: { font: { size: 12, color: muted } },
    };
    return {
      layout: {
        paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
        font: { color: ink, size: 12, family: getComputedStyle(document.body).fontFamily },
        xaxis: axis, yaxis: axis,
        hoverlabel: { bgcolor: raised, bordercolor: muted, font: { color: ink }, align: "left" },
        annotationdefaults: { font: { color: muted } },
        coloraxis: {
          colorscale: [[0, colour("scale-low")], [0.5, raised], [1, colour("scale-high")]],
          colorbar: { outlinewidth: 0, title: { font: { size: 12, color: muted } } },
        },
        modebar: { bgcolor: raised, color: muted, activecolor: ink },
      },
      data: { scatter: [{ marker: { line: { color: ink } } }] },
    };
  }

  function draw(box) {
    const { data, layout } = structuredClone(figures[box.dataset.figure]);
    for (const trace of data) trace.visible = !off.has(trace.meta);
    Plotly.newPlot(box, data, { ...layout, template: template(), dragmode: false }, {
      // Named one by one: plotly's own choice has one that sends the data to its makers.
      modeBarButtons: [["toImage", "zoom2d", "resetScale2d"]], plotlyServerURL: "",
      responsive: true, displaylogo: false,
    });
    box.classList.add("drawn");
  }

  const observer = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      observer.unobserve(entry.target);
      draw(entry.target);
    }
  }, { rootMargin: "300px" });
  // Observing anew draws those in view at once, and the others when they come near.
  const refresh = () => {
    for (const box of boxes) {
      observer.unobserve(box);
      observer.observe(box);
    }
  };
  refresh();

  for (const button of all(".legend button")) {
    button.addEventListener("click", () => {
      const shown = button.getAttribute("aria-pressed") === "false";
      button.setAttribute("aria-pressed", shown);
      off[shown ? "delete" : "add"](button.dataset.meta);
      refresh();
    });
  }

  // Paper is white and as wide as it is: all figures are drawn for it, wide ones as wide as fits.
  const [paper, sheet] = [680, 1000];
  const onPaper = (box) => Math.min(Math.max(paper, parseInt(box.style.minWidth) || 0), sheet);
  addEventListener("beforeprint", () => {
    root.dataset.before = root.dataset.theme || "";
    root.dataset.theme = "light";
    for (const box of boxes) {
      draw(box);
      Plotly.relayout(box, { width: onPaper(box) });
    }
  });
  addEventListener("afterprint", () => {
    root.dataset.theme = root.dataset.before;
    refresh();
  });

  // Light and dark: the system's, until the reader says otherwise.
  const system = matchMedia("(prefers-color-scheme: dark)");
  const toggle = document.getElementById("theme");
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const label = () => {
    toggle.textContent = dark() ? "Light mode" : "Dark mode";
  };
  toggle.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    label();
    refresh();
  });
  system.addEventListener("change", () => {
    label();
    refresh();
  });
  label();
})();
