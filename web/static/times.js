// Relative times and running durations, said as the server says them (pages/words.py).

export function duration(ms) {
  const left = Math.max(ms, 0);
  const seconds = Math.floor(left / 1000);
  const two = (number) => String(number).padStart(2, "0");
  if (seconds < 10) return `${(Math.floor(left / 100) / 10).toFixed(1)}s`;
  if (seconds < 60) return `${seconds}s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m ${two(seconds % 60)}s`;
  return `${Math.floor(seconds / 3600)}h ${two(Math.floor((seconds % 3600) / 60))}m`;
}

export function ago(at, now) {
  const seconds = Math.max(0, Math.floor((now - at) / 1000));
  if (seconds < 45) return "just now";
  if (seconds < 3600) return `${Math.max(1, Math.floor(seconds / 60))} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  if (seconds < 30 * 86400) return `${Math.floor(seconds / 86400)} d ago`;
  return new Date(at).toISOString().slice(0, 10);
}

/** Keeps times true; the returned function does so at once. */
export function startTimes(main) {
  // The visitor's clock may be wrong; the server said what time it was.
  const skew = Date.now() - Number(main.dataset.now);
  const write = (element, text) => {
    if (element.textContent !== text) element.textContent = text;
  };
  const tick = () => {
    if (document.hidden) return;
    const now = Date.now() - skew;
    for (const element of document.querySelectorAll("[data-since]")) {
      const passed = now - Number(element.dataset.since);
      // Tenths that jump by a whole second look broken: whole seconds while it counts.
      write(element, passed < 10000 ? `${Math.max(0, Math.floor(passed / 1000))}s` : duration(passed));
    }
    for (const element of document.querySelectorAll("[data-at]")) write(element, ago(Number(element.dataset.at), now));
  };
  tick();
  setInterval(tick, 1000);
  return tick;
}
