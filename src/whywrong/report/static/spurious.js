"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("js", "maps");
  const form = document.querySelector(".filters");
  const cards = [...document.querySelectorAll(".sp-card")];
  const groups = [...document.querySelectorAll(".sp-class")];
  const output = form.querySelector("output");
  const empty = document.querySelector(".empty");
  const basis = document.body.dataset.basis;
  const store = `whywrong-spurious-${basis}`;
  const keys = { s: "spurious", c: "core", u: "unsure", x: "" };
  let here = null;

  function kept() {
    try {
      return JSON.parse(localStorage.getItem(store)) || {};
    } catch {
      return {}; // storage may be closed to files
    }
  }

  function keep() {
    const labels = Object.fromEntries(cards.map((card) => [card.id, card.dataset.label]));
    try {
      localStorage.setItem(store, JSON.stringify(labels));
    } catch {
      // the labels stay on the page
    }
  }

  function put(card, word) {
    card.dataset.label = word;
    for (const input of card.querySelectorAll(".sp-choose input")) input.checked = input.value === word;
    card.querySelector("[data-clear]").hidden = !word;
  }

  function label(card, word) {
    put(card, word);
    keep();
    count();
  }

  function count() {
    const done = cards.filter((card) => card.dataset.label).length;
    const seen = cards.filter((card) => !card.hidden).length;
    const shown = seen < cards.length ? `${seen} shown, ` : "";
    output.textContent = `${shown}${done} of ${cards.length} labelled`;
  }

  function filter() {
    const { class: name, verdict, label: word } = form.elements;
    for (const card of cards) {
      const said = card.dataset.label || "none";
      card.hidden = !(
        (!name.value || card.dataset.class === name.value) &&
        (!verdict.value || card.dataset.verdict === verdict.value) &&
        (!word.value || said === word.value)
      );
    }
    for (const group of groups) group.hidden = ![...group.querySelectorAll(".sp-card")].some((card) => !card.hidden);
    empty.hidden = cards.some((card) => !card.hidden);
    count();
  }

  function go(card) {
    if (!card) return;
    if (here) here.classList.remove("here");
    here = card;
    here.classList.add("here");
    here.focus({ preventScroll: true });
    here.scrollIntoView({ block: "start" });
  }

  function step(by) {
    const seen = cards.filter((card) => !card.hidden);
    const at = seen.indexOf(here);
    go(at < 0 ? seen[by > 0 ? 0 : seen.length - 1] : seen[at + by]);
  }

  function cell(value) {
    const text = /^[=+\-@\t\r\n]/.test(value) ? `'${value}` : value; // a spreadsheet would run it as a formula
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  }

  function csv() {
    const rows = cards
      .filter((card) => card.dataset.label)
      .map((card) => [card.dataset.write, card.dataset.component, card.dataset.label, basis].map(cell).join(","));
    return `${["class,component,label,basis", ...rows].join("\n")}\n`;
  }

  function say(button, text) {
    const before = button.dataset.text || (button.dataset.text = button.textContent);
    button.textContent = text;
    setTimeout(() => (button.textContent = before), 1600);
  }

  const old = kept();
  for (const card of cards) {
    put(card, card.dataset.label || old[card.id] || "");
    card.querySelector(".sp-choose").addEventListener("change", (event) => label(card, event.target.value));
    card.querySelector("[data-clear]").addEventListener("click", () => {
      label(card, "");
      card.focus({ preventScroll: true });
    });
    card.addEventListener("focusin", () => {
      if (here && here !== card) here.classList.remove("here");
      here = card;
      card.classList.add("here");
    });
  }
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("change", (event) => {
    if (event.target.name === "maps") root.classList.toggle("maps", event.target.checked);
    else filter();
  });
  document.querySelector("[data-reset]").addEventListener("click", () => {
    for (const name of ["class", "verdict", "label"]) form.elements[name].value = "";
    filter();
  });
  form.querySelector("[data-save]").addEventListener("click", () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
    link.download = "labels.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
  form.querySelector("[data-copy]").addEventListener("click", async (event) => {
    const button = event.currentTarget;
    try {
      await navigator.clipboard.writeText(csv());
      say(button, "Copied");
    } catch {
      say(button, "Not allowed here");
    }
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || /^(SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
    const key = event.key.toLowerCase();
    if (key === "j" || key === "k") step(key === "j" ? 1 : -1);
    else if (key === "m") form.elements.maps.click();
    else if (key in keys && here && !here.hidden) label(here, keys[key]);
    else return;
    event.preventDefault();
  });
  filter();
})();
