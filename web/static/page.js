// What every page does: times that count, buttons that copy, live parts, logs.
import { startTimes } from "./times.js";
import { startLive } from "./live.js";
import { syncLogs } from "./log.js";

const main = document.getElementById("main");

function showCopyButtons() {
  // The clipboard exists only on secure pages.
  if (!navigator.clipboard) return;
  for (const button of document.querySelectorAll("[data-copy]")) button.hidden = false;
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Not allowed";
  }
});

const tick = startTimes(main);

function refreshed() {
  tick();
  showCopyButtons();
  syncLogs();
}

refreshed();
startLive(main, refreshed);
