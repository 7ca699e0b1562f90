// Adds the box that selects all messages of a page. Everything works without this file.
"use strict";
(() => {
  function addSelectAll(place) {
    const form = place.closest("form");
    const box = document.createElement("input");
    box.type = "checkbox";
    box.setAttribute("aria-label", "Select all messages of this page");
    box.addEventListener("change", () => {
      for (const each of form.querySelectorAll("input[name=id]")) {
        each.checked = box.checked;
      }
    });
    place.replaceWith(box);
  }
  document.querySelectorAll("[data-select-all]").forEach(addSelectAll);
})();
