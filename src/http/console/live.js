// New decisions as they are recorded. Without this file the page works; it shows what was there when it was made.
(() => {
  const rows = document.querySelector("[data-live]");
  const state = document.querySelector("[data-state]");
  if (!rows || !window.EventSource) return;
  const source = new EventSource(rows.dataset.live);
  const show = (on) => {
    if (!state) return;
    state.dataset.state = on ? "on" : "off";
    state.textContent = on ? "live" : "not live: reload the page for newer decisions";
  };
  // The first reply comes with the first new decision.
  show(true);
  let failures = 0;
  source.onopen = () => { failures = 0; show(true); };
  // Each reply ends, and the browser asks again: only several failures in a row mean something.
  source.onerror = () => { failures += 1; if (failures > 3 || source.readyState === EventSource.CLOSED) show(false); };
  source.addEventListener("rows", (event) => {
    const part = document.createElement("template");
    part.innerHTML = event.data;
    for (const row of [...part.content.children]) {
      const known = document.getElementById(row.id);
      if (known) known.remove();
      row.classList.add("new");
      rows.prepend(row);
    }
    while (rows.children.length > 200) rows.lastElementChild.remove();
  });
})();
