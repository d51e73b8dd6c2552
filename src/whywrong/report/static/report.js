"use strict";
(() => {
  document.documentElement.classList.add("js");

  // The slider mixes the image with a counterfactual: below zero the one deeper into the predicted class.
  document.addEventListener("input", (event) => {
    const slider = event.target.closest(".slide input");
    if (!slider) return;
    const at = Number(slider.value);
    const end = at > 0 ? slider.dataset.true : slider.dataset.wrong;
    slider.closest(".morph").style.setProperty("--at", String(at / 100));
    slider.setAttribute("aria-valuetext", at === 0 ? "as it is" : `${Math.abs(at)} % of the way to ${end}`);
  });

  const form = document.querySelector(".filters");
  if (!form) return;
  const gallery = document.querySelector(".gallery");
  const sections = document.querySelector(".cases");
  const output = form.querySelector("output");
  const empty = document.querySelector(".empty");
  const tiles = [...gallery.children].map((tile) => ({
    tile,
    section: document.getElementById(tile.dataset.for),
    ...tile.dataset,
    far: tile.dataset.distance === "inf" ? Infinity : Number(tile.dataset.distance),
    sure: Number(tile.dataset.confidence),
    size: Number(tile.dataset.patches) < 0 ? Infinity : Number(tile.dataset.patches),
  }));
  // A run without a method has no menu for it.
  const menus = ["pair", "trust", "enough"].map((name) => form.elements[name]).filter(Boolean);
  const orders = {
    far: (a, b) => b.far - a.far || b.sure - a.sure,
    near: (a, b) => a.far - b.far || a.sure - b.sure,
    sure: (a, b) => b.sure - a.sure,
    unsure: (a, b) => a.sure - b.sure,
    few: (a, b) => a.size - b.size || b.sure - a.sure,
    name: (a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0),
  };
  let suspects = false;
  let order = "far";

  function apply() {
    const pair = form.elements.pair.value;
    const words = form.elements.text.value.toLowerCase().split(/\s+/).filter(Boolean);
    if (form.elements.order.value !== order) {
      order = form.elements.order.value;
      tiles.sort((a, b) => {
        const difference = orders[order](a, b);
        return Number.isNaN(difference) ? 0 : difference;
      });
      for (const entry of tiles) {
        gallery.append(entry.tile);
        sections.append(entry.section);
      }
    }
    let shown = 0;
    for (const entry of tiles) {
      const fits =
        menus.every((menu) => !menu.value || entry[menu.name] === menu.value) &&
        (!suspects || entry.suspect === "1") &&
        words.every((word) => entry.search.includes(word));
      entry.tile.hidden = entry.section.hidden = !fits;
      shown += fits;
    }
    output.textContent = `${shown.toLocaleString("en")} of ${tiles.length.toLocaleString("en")} shown`;
    empty.hidden = shown > 0;
    for (const link of document.querySelectorAll("a[data-pair]")) {
      link.setAttribute("aria-current", String(Boolean(pair) && link.dataset.pair === pair));
    }
  }

  function reset() {
    suspects = false;
    for (const field of [...menus, form.elements.text]) field.value = "";
    form.elements.order.value = "far";
    apply();
  }

  function goToGallery() {
    document.getElementById("errors").scrollIntoView();
    form.elements.pair.focus({ preventScroll: true });
  }

  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", (event) => {
    event.preventDefault();
    reset();
  });
  empty.querySelector("button").addEventListener("click", reset);
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a");
    if (!link) return;
    if (link.dataset.pair) {
      const known = [...form.elements.pair.options].some((option) => option.value === link.dataset.pair);
      if (!known) return;
      event.preventDefault();
      reset();
      form.elements.pair.value = link.dataset.pair;
      apply();
      goToGallery();
    } else if ("suspects" in link.dataset) {
      event.preventDefault();
      reset();
      suspects = true;
      apply();
      goToGallery();
    } else if (link.dataset.step) {
      // The order and the filter may have changed since the page was written.
      const shown = tiles.filter((entry) => !entry.section.hidden);
      const here = shown.findIndex((entry) => entry.section.contains(link));
      const next = shown[here + Number(link.dataset.step)];
      event.preventDefault();
      location.hash = next ? next.section.id : "errors";
    }
  });

  function reveal() {
    const target = document.getElementById(location.hash.slice(1));
    if (target && target.hidden) {
      reset();
      target.scrollIntoView();
    }
  }
  addEventListener("hashchange", reveal);
  apply();
  reveal();
})();
