"use strict";
(() => {
  document.documentElement.classList.add("js");

  // The slider mixes the image with a changed version: below zero the one deeper into the predicted class.
  document.addEventListener("input", (event) => {
    const slider = event.target.closest(".slide input");
    if (!slider) return;
    const at = Number(slider.value);
    const end = at > 0 ? slider.dataset.true : slider.dataset.wrong;
    slider.closest(".morph").style.setProperty("--at", String(at / 100));
    slider.setAttribute("aria-valuetext", at === 0 ? "as it is" : `${Math.abs(at)} % of the way to ${end}`);
  });

  // A column title sorts its table, first the largest number or the first name; rows of a fold join the table.
  for (const table of document.querySelectorAll("table.sortable")) {
    for (const [column, title] of [...table.tHead.rows[0].cells].entries()) {
      const button = document.createElement("button");
      button.append(...title.childNodes);
      title.append(button);
      button.addEventListener("click", () => {
        const up = title.getAttribute("aria-sort") ? title.getAttribute("aria-sort") === "descending" : column === 0;
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        title.setAttribute("aria-sort", up ? "ascending" : "descending");
        const order = (row) => row.cells[column].dataset.value;
        const compare = (a, b) => (column ? order(a) - order(b) : order(a) < order(b) ? -1 : 1);
        table.tBodies[0].append(...[...table.tBodies[0].rows].sort((a, b) => (up ? compare(a, b) : compare(b, a))));
      });
    }
  }

  const form = document.querySelector(".filters");
  if (!form) return;
  const gallery = document.querySelector(".gallery");
  const sections = document.querySelector(".cases");
  const output = form.querySelector("output");
  const empty = document.querySelector(".empty");
  const number = (n) => n.toLocaleString("en");
  const tiles = [...gallery.children].map((tile) => ({
    tile,
    section: document.getElementById(tile.dataset.for),
    ...tile.dataset,
  }));
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
  const statements = [...document.querySelectorAll("[data-statement]")].map((place) => ({
    place,
    unfiltered: [...place.childNodes],
  }));
  const written = menu.value; // the order in which the page was written
  let order = written;
  let landing = 0; // the frame that looks again whether it stands where it should
  let here = null; // the error that was gone to last

  // What is chosen: in the controls, and in the address, so that a reload or a copied link shows the same errors.

  function chosen(field) {
    if (field.type === "checkbox") return field.checked ? field.value : "";
    return field.value.trim();
  }

  function choose(field, value) {
    if (field.type === "checkbox") field.checked = value === field.value;
    else if (field === search) field.value = value;
    else field.value = [...field.options].some((option) => option.value === value) ? value : field.options[0].value;
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

  function record(anchor, change = "replaceState") {
    const text = chosenText();
    const hash = text ? `#${anchor || "errors"}&${text}` : anchor ? `#${anchor}` : "";
    try {
      history[change]({ chosen: text }, "", hash || location.href.split("#")[0]);
      history.scrollRestoration = here ? "manual" : "auto"; // heights below the gallery are known only when drawn
    } catch {
      // A page inside another may be kept from changing its address.
    }
  }

  // What is shown, and the sentences that say so.

  function apply() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    if (menu.value !== order) {
      order = menu.value;
      const { dataset } = menu.selectedOptions[0];
      const compare = dataset.by ? byPlace(dataset) : byName;
      tiles.sort((a, b) => {
        const difference = compare(a, b);
        return Number.isNaN(difference) ? b.confidence - a.confidence : difference;
      });
      for (const entry of tiles) {
        gallery.append(entry.tile);
        sections.append(entry.section);
      }
    }
    for (const entry of tiles) {
      const fits =
        narrowing.every((field) => !chosen(field) || entry[field.name] === chosen(field)) &&
        words.every((word) => entry.search.includes(word));
      entry.tile.hidden = entry.section.hidden = !fits;
    }
    say(visible());
  }

  const visible = () => tiles.filter((entry) => !entry.section.hidden);

  function say(shown) {
    const active = [...narrowing, search].filter(chosen);
    const all = number(tiles.length);
    output.textContent = `${number(shown.length)} of ${all} shown`;
    empty.hidden = shown.length > 0;
    for (const { place, unfiltered } of statements) {
      const is = shown.length === 1 ? "is" : "are";
      const sentence = `${number(shown.length)} of ${tiles.length === 1 ? "1 error" : `${all} errors`} ${is} shown. Filter: `;
      place.replaceChildren(...(active.length ? [sentence, ...active.map(chip)] : unfiltered));
    }
    for (const place of document.querySelectorAll("[data-order]")) {
      const words = menu.selectedOptions[0].textContent.trim();
      place.textContent = `${words[0].toUpperCase()}${words.slice(1)}`;
    }
    shown.forEach((entry, i) => {
      const place = entry.section.querySelector(".place");
      for (const link of entry.section.querySelectorAll("[data-step]")) link.hidden = !shown[i + Number(link.dataset.step)];
      place.textContent = `${number(i + 1)} of ${number(shown.length)}${active.length ? " in the filter" : ""}`;
    });
    for (const link of document.querySelectorAll("a[data-filter]")) {
      link.setAttribute("aria-current", String(link.dataset.filter === chosenText()));
    }
  }

  function chip(field) {
    const label = field.closest("label").textContent.trim();
    const what =
      field === search
        ? `search “${chosen(field)}”`
        : field.type === "checkbox"
          ? label.toLowerCase()
          : `${label.split("\n")[0].toLowerCase()} ${field.selectedOptions[0].textContent.replace(/\s*\([\d,]+\)$/, "")}`;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "chip";
    button.textContent = `${what} ×`;
    button.setAttribute("aria-label", `Remove the filter: ${what}`);
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
    mark(null);
    record("errors", "pushState");
    document.getElementById("errors").scrollIntoView();
    menu.focus({ preventScroll: true });
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
  empty.querySelector("button").addEventListener("click", reset);

  // Going from error to error.

  function mark(entry) {
    if (here) here.section.classList.remove("here");
    here = entry;
    if (here) here.section.classList.add("here");
  }

  function goTo(entry) {
    if (entry.section.hidden) chooseText("");
    if (here === entry && address().anchor === entry.section.id) land(entry.section);
    else location.hash = entry.section.id;
  }

  // What is above it gets its true height when it is first drawn, which may move it for some frames.
  function land(section, frames = 12) {
    section.scrollIntoView();
    if (frames && here && here.section === section) landing = requestAnimationFrame(() => land(section, frames - 1));
  }

  // Whoever moves or goes back is not pulled to where the page was still landing.
  for (const event of ["wheel", "touchstart", "pointerdown", "keydown", "popstate"]) {
    addEventListener(event, () => cancelAnimationFrame(landing), { capture: true, passive: true });
  }

  function step(by, from) {
    const shown = visible();
    if (!shown.length) return;
    const box = (entry) => entry.section.getBoundingClientRect();
    const inView = (entry) => box(entry).bottom > 120 && box(entry).top < innerHeight;
    let at = shown.indexOf(from || (here && inView(here) ? here : shown.find((entry) => inView(entry))));
    if (at < 0) at = box(shown[0]).top > 0 ? -1 : shown.length;
    const next = shown[at + by];
    if (next) goTo(next);
  }

  function arrive() {
    const { anchor, text } = address();
    const known = history.state && typeof history.state.chosen === "string" ? history.state.chosen : text;
    if (known || history.state) chooseText(known);
    const entry = tiles.find(({ section }) => section.id === anchor);
    if (!entry && here) here.tile.querySelector("a").focus({ preventScroll: true });
    mark(entry || null);
    if (entry) {
      if (entry.section.hidden) chooseText("");
      land(entry.section);
      entry.section.querySelector("h3").focus({ preventScroll: true });
    }
    record(anchor);
  }

  document.addEventListener("click", (event) => {
    const link = event.target.closest("a");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const entry = tiles.find(({ section }) => link.hash === `#${section.id}`);
    if (link.dataset.filter) only(link.dataset.filter);
    else if (link.dataset.step) step(Number(link.dataset.step), tiles.find(({ section }) => section.contains(link)));
    else if (entry) goTo(entry);
    else return;
    event.preventDefault();
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("select, textarea, [type=search]")) return;
    const by = { j: 1, k: -1, ArrowRight: 1, ArrowLeft: -1 }[event.key];
    // Arrows belong to the control or the scrolled table in focus.
    if (!by || (event.key.length > 1 && event.target.closest("input, summary, [role=region]"))) return;
    event.preventDefault();
    step(by);
  });
  addEventListener("hashchange", arrive);
  apply();
  arrive();
})();
