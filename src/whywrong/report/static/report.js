"use strict";
(() => {
  document.documentElement.classList.add("js");

  // What is folded is written inside noscript, which is mere text here, and becomes elements when it is opened.
  function elements(text) {
    const holder = document.createElement("template");
    holder.innerHTML = text;
    return holder.content;
  }

  function unfold(fold) {
    const held = fold.querySelector(":scope > noscript");
    if (held) held.replaceWith(elements(held.textContent));
  }

  // What is named may lie in a fold that was not opened yet.
  function reveal(id) {
    for (const fold of id ? document.querySelectorAll("details.lazy") : []) {
      const held = fold.querySelector(":scope > noscript");
      if (!held || !held.textContent.includes(`id="${id}"`)) continue;
      unfold(fold);
      fold.open = true;
    }
  }

  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href^='#']");
    if (link) reveal(link.hash.slice(1));
  }, true);
  document.addEventListener("toggle", ({ target }) => target.open && target.matches("details.lazy") && unfold(target), true);

  // The slider mixes the image with a changed version: below zero the one deeper into the predicted class.
  document.addEventListener("input", (event) => {
    const slider = event.target.closest(".slide input");
    if (!slider) return;
    const at = Number(slider.value);
    const end = at > 0 ? slider.dataset.true : slider.dataset.wrong;
    slider.closest(".morph").style.setProperty("--at", String(at / 100));
    slider.setAttribute("aria-valuetext", at === 0 ? "as it is" : `${Math.abs(at)} % of the way to ${end}`);
  });

  // A command is copied by its button; where that is not allowed, it is selected.
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button.copy");
    if (!button) return;
    const code = button.parentElement.querySelector("code");
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code);
      button.textContent = "Selected";
    }
  });

  // A column title sorts its table: names from the first, numbers from the largest. Folded rows join it.
  for (const table of document.querySelectorAll("table.sortable")) {
    const fold = document.querySelector("details.rows");
    const body = table.tBodies[0];
    const join = () => {
      if (!fold || !fold.isConnected) return;
      unfold(fold);
      body.append(...fold.querySelectorAll("tbody > tr"));
      fold.remove();
    };
    if (fold) fold.addEventListener("toggle", join);
    for (const [column, title] of [...table.tHead.rows[0].cells].entries()) {
      const button = document.createElement("button");
      button.append(...title.childNodes);
      title.append(button);
      button.addEventListener("click", () => {
        join();
        const up = title.getAttribute("aria-sort") ? title.getAttribute("aria-sort") === "descending" : column === 0;
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        title.setAttribute("aria-sort", up ? "ascending" : "descending");
        const order = (row) => row.cells[column].dataset.value;
        const compare = (a, b) => (column ? order(a) - order(b) : order(a) < order(b) ? -1 : 1);
        body.append(...[...body.rows].sort((a, b) => (up ? compare(a, b) : compare(b, a))));
      });
    }
  }

  const form = document.querySelector(".filters");
  if (!form) return;
  const PAGE = 24;
  const gallery = document.querySelector(".gallery");
  const cases = document.querySelector(".cases");
  const viewer = document.querySelector("dialog.viewer");
  const output = form.querySelector("output");
  const empty = document.querySelector(".empty");
  const further = document.querySelector(".further-tiles");
  const number = (n) => n.toLocaleString("en");
  const held = (place) => (place ? place.textContent : "");
  const texts = held(cases.querySelector("noscript")).split("<!--case-->").slice(1);
  const more = elements(held(document.querySelector("noscript.pages"))).querySelectorAll("li[data-for]");
  const tiles = [...gallery.children, ...more].map((tile, i) => ({ tile, text: texts[i], article: null, ...tile.dataset }));
  // An order compares the attribute of tiles that its option names; what is unknown, below zero, comes last.
  function place(entry, { by, down }) {
    const value = entry.tile.getAttribute(`data-${by}`) === "inf" ? Infinity : Number(entry.tile.getAttribute(`data-${by}`));
    return down !== undefined ? -value : value < 0 ? Infinity : value;
  }
  const byName = (a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0);
  const byPlace = (data) => (a, b) => place(a, data) - place(b, data) || b.confidence - a.confidence;
  const { order: menu, text: search } = form.elements;
  // Every other control compares the attribute of a tile that has its name.
  const narrowing = [...form.elements].filter((field) => field.name && field !== menu && field !== search);
  const statement = document.querySelector("[data-statement]");
  const unfiltered = [...statement.childNodes];
  const written = menu.value; // the order in which the page was written
  let order = written;
  let fitting = tiles; // the errors of the filter, in order
  let pages = 1; // how many of them are in the gallery, in pages
  let here = null; // the error in the dialog
  let opener = null; // what had the focus when the dialog was opened, and on which error

  // What is chosen: in the controls, and in the address, so that a reload or a copied link shows the same errors.

  function chosen(field) {
    if (field.type === "checkbox") return field.checked ? field.value : "";
    return field.value.trim();
  }

  function choose(field, value) {
    if (field.type === "checkbox") field.checked = value === field.value;
    else if (field === search) field.value = value;
    else {
      const known = () => [...field.options].some((option) => option.value === value);
      const names = { pair: ".names", predicted: ".names .wrong" }[field.name]; // menus that list the most frequent only
      const entry = names && value && !known() && tiles.find((one) => one[field.name] === value);
      if (entry) field.add(new Option(entry.tile.querySelector(names).textContent.trim(), value));
      field.value = known() ? value : field.options[0].value;
    }
  }

  function chosenText() {
    const pairs = [...narrowing, search].map((field) => [field.name, chosen(field)]).filter((pair) => pair[1]);
    if (menu.value !== written) pairs.push([menu.name, menu.value]);
    return new URLSearchParams(pairs).toString();
  }

  function chooseText(text) {
    const wanted = new URLSearchParams(text);
    for (const field of [...narrowing, search]) choose(field, wanted.get(field.name) || "");
    choose(menu, wanted.get(menu.name) || written);
    apply();
  }

  function address() {
    const [anchor, ...rest] = location.hash.slice(1).split("&");
    return { anchor, text: rest.join("&") };
  }

  function record(anchor, change = "replaceState", opened = false) {
    const text = chosenText();
    const hash = text ? `#${anchor || "errors"}&${text}` : anchor ? `#${anchor}` : "";
    try {
      history[change]({ chosen: text, opened }, "", hash || location.href.split("#")[0]);
    } catch {
      // A page inside another may be kept from changing its address.
    }
  }

  // What is shown, and the sentences that say so.

  const has = (entry, name, value) => (name === "group" ? entry.group.split(" ").includes(value) : entry[name] === value);

  function fits(entry, without = null) {
    const words = without === search ? [] : search.value.toLowerCase().split(/\s+/).filter(Boolean);
    return (
      narrowing.every((field) => field === without || !chosen(field) || has(entry, field.name, chosen(field))) &&
      words.every((word) => entry.search.includes(word))
    );
  }

  function apply() {
    if (menu.value !== order) {
      order = menu.value;
      const { dataset } = menu.selectedOptions[0];
      const compare = dataset.by ? byPlace(dataset) : byName;
      tiles.sort((a, b) => {
        const difference = compare(a, b);
        return Number.isNaN(difference) ? b.confidence - a.confidence : difference;
      });
    }
    fitting = tiles.filter((entry) => fits(entry));
    pages = 1;
    draw();
    say();
  }

  function draw(number = PAGE * pages) {
    gallery.replaceChildren(...fitting.slice(0, number).map((entry) => entry.tile));
    const left = fitting.length - number;
    further.hidden = left <= 0;
    if (left > 0) further.querySelector("button").textContent = left > PAGE ? `Show ${PAGE} more of ${left}` : `Show the last ${left}`;
  }

  function say() {
    const active = [...narrowing, search].filter(chosen);
    const count = `${number(fitting.length)} of ${number(tiles.length)} shown`;
    output.textContent = count;
    statement.replaceChildren(...(active.length ? [`${count}: `, ...active.map((field) => chip(field))] : unfiltered));
    empty.hidden = fitting.length > 0;
    if (!empty.hidden) {
      const without = (field) => tiles.filter((entry) => fits(entry, field)).length;
      empty.querySelector(".chips").replaceChildren(...active.map((field) => chip(field, without(field))));
    }
    for (const place of document.querySelectorAll("[data-order]")) {
      const words = menu.selectedOptions[0].textContent.trim();
      place.textContent = `${words[0].toUpperCase()}${words.slice(1)}`;
    }
    for (const link of document.querySelectorAll("a[data-filter]")) {
      link.setAttribute("aria-current", String(link.dataset.filter === chosenText()));
    }
    if (here) steps();
  }

  function words(field) {
    const label = field.closest("label").textContent.trim();
    if (field === search) return `search “${chosen(field)}”`;
    if (field.type === "checkbox") return label.toLowerCase();
    return `${label.split("\n")[0].toLowerCase()} ${field.selectedOptions[0].textContent.replace(/\s*\([\d,]+\)$/, "")}`;
  }

  function chip(field, left = null) {
    const what = words(field);
    const button = document.createElement("button");
    button.type = "button";
    button.className = "chip";
    button.textContent = left === null ? `${what} ×` : `${what} × (${number(left)} without it)`;
    button.setAttribute("aria-label", `Remove the filter: ${what}${left === null ? "" : `, which leaves ${number(left)}`}`);
    button.addEventListener("click", () => {
      choose(field, "");
      apply();
      record(address().anchor);
      menu.focus({ preventScroll: true }); // the button is gone
    });
    return button;
  }

  function reset() {
    chooseText("");
    record(address().anchor);
  }

  function only(text) {
    chooseText(text);
    record("errors", "pushState");
    document.getElementById("errors").scrollIntoView();
    (gallery.querySelector("a") || menu).focus({ preventScroll: true });
  }

  form.addEventListener("input", () => {
    apply();
    record(address().anchor);
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", (event) => {
    event.preventDefault();
    reset();
  });
  empty.querySelector("[data-reset]").addEventListener("click", reset);
  further.addEventListener("click", (event) => {
    if (!event.target.closest("button")) return;
    pages += 1;
    draw();
    fitting[PAGE * (pages - 1)].tile.querySelector("a").focus({ preventScroll: true });
  });

  // One error at a time, in a dialog over the gallery.

  function article(entry) {
    entry.article = entry.article || elements(entry.text).querySelector("article");
    return entry.article;
  }

  function show(entry) {
    if (!fitting.includes(entry)) chooseText("");
    if (!viewer.open) opener = { entry, focus: document.activeElement };
    here = entry;
    const shown = article(entry);
    shown.classList.add("here");
    viewer.setAttribute("aria-labelledby", `${entry.for}-t`);
    viewer.replaceChildren(shown);
    steps();
    if (!viewer.open) viewer.showModal();
    viewer.scrollTop = 0;
    shown.querySelector("h3").focus({ preventScroll: true });
  }

  function steps() {
    const at = fitting.indexOf(here);
    for (const link of here.article.querySelectorAll("[data-step]")) link.hidden = !fitting[at + Number(link.dataset.step)];
    const filtered = fitting.length < tiles.length;
    here.article.querySelector(".place").textContent =
      `${number(at + 1)} of ${number(fitting.length)}${filtered ? " in the filter" : ""}`;
  }

  // Closing returns to what was clicked, or to the tile of the error that was shown last.
  function hide() {
    if (!here) return;
    const entry = here;
    here = null;
    viewer.close();
    viewer.replaceChildren();
    if (opener && opener.entry === entry && opener.focus.isConnected && opener.focus !== document.body) {
      opener.focus.focus({ preventScroll: true });
      return;
    }
    const at = fitting.indexOf(entry);
    if (at >= PAGE * pages) {
      pages = Math.ceil((at + 1) / PAGE);
      draw();
    }
    entry.tile.scrollIntoView({ block: "nearest" });
    entry.tile.querySelector("a").focus({ preventScroll: true });
  }

  function goTo(entry) {
    const opened = here ? Boolean(history.state && history.state.opened) : true;
    const change = here ? "replaceState" : "pushState"; // Back closes the dialog, wherever one went in it
    show(entry);
    record(entry.for, change, opened);
  }

  function leave() {
    if (history.state && history.state.opened) history.back();
    else {
      hide();
      record("errors");
    }
  }

  viewer.addEventListener("cancel", (event) => {
    event.preventDefault();
    leave();
  });
  viewer.addEventListener("close", () => here && !viewer.open && leave()); // a browser closes it on a second Escape
  viewer.addEventListener("click", (event) => event.target === viewer && leave());

  function step(by) {
    const tile = document.activeElement && document.activeElement.closest(".gallery > li");
    const from = here || fitting.find((entry) => entry.tile === tile);
    const next = fitting[from ? fitting.indexOf(from) + by : 0];
    if (next) goTo(next);
  }

  function arrive() {
    const { anchor, text } = address();
    const state = history.state && typeof history.state.chosen === "string" ? history.state : null;
    const known = state ? state.chosen : text;
    if ((known || state) && known !== chosenText()) chooseText(known);
    const entry = tiles.find((one) => one.for === anchor);
    if (entry) show(entry);
    else hide();
    record(anchor, "replaceState", Boolean(state && state.opened));
    if (!entry && anchor === "errors" && !state) document.getElementById("errors").scrollIntoView();
  }

  document.addEventListener("click", (event) => {
    const link = event.target.closest("a");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const entry = tiles.find((one) => link.hash === `#${one.for}`);
    if (link.dataset.filter) only(link.dataset.filter);
    else if (link.dataset.step) step(Number(link.dataset.step));
    else if (link.dataset.close !== undefined) leave();
    else if (entry) goTo(entry);
    else if (here && link.hash.length > 1 && viewer.contains(link)) {
      const target = link.hash;
      hide();
      record(target.slice(1));
      const place = document.getElementById(target.slice(1));
      if (place) place.scrollIntoView();
    } else return;
    event.preventDefault();
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("select, textarea, [type=search]")) return;
    const by = { j: 1, k: -1, ArrowRight: 1, ArrowLeft: -1 }[event.key];
    // Arrows belong to the control or the scrolled table in focus.
    if (!by || (event.key.length > 1 && (!here || event.target.closest("input, summary, [role=region]")))) return;
    event.preventDefault();
    step(by);
  });

  // On paper the gallery is whole and the first errors follow in full.
  const ON_PAPER = 6;
  function toPaper() {
    if (cases.querySelector("article")) return;
    draw(fitting.length);
    for (const entry of fitting.slice(0, ON_PAPER)) cases.append(article(entry));
  }
  function fromPaper() {
    for (const shown of cases.querySelectorAll(":scope > article")) shown.remove();
    draw();
    if (here) show(here);
  }
  addEventListener("beforeprint", toPaper);
  addEventListener("afterprint", fromPaper);
  matchMedia("print").addEventListener("change", ({ matches }) => (matches ? toPaper() : fromPaper()));

  addEventListener("hashchange", arrive);
  apply();
  arrive();
})();
