// Follows what the page shows: an event says "look again", the page asks for itself without its frame and takes over
// what is different. A hidden tab holds no connection: browsers have six for a whole server.
import { morph } from "./morph.js";

const REST_MS = 250; // between two looks
const LOOK_MS = 30000; // events are hints; without one we look anyway
const RETRY_MS = 5000;

export function startLive(main, refreshed) {
  const topics = main.dataset.topics;
  if (!topics) return;
  let source = null;
  let retry = 0;
  let isAsking = false;
  let isWanted = false;

  async function look() {
    isWanted = true;
    if (isAsking || document.hidden) return;
    isAsking = true;
    while (isWanted && !document.hidden) {
      isWanted = false;
      const begin = performance.now();
      await ask();
      // A page that is heavy to draw, or a server that is busy, is asked more seldom.
      const rest = Math.max(REST_MS, 4 * (performance.now() - begin));
      await new Promise((done) => setTimeout(done, Math.min(rest, 5000)));
    }
    isAsking = false;
  }

  async function ask() {
    try {
      const response = await fetch(location.href.split("#")[0], { headers: { "X-Fragment": "1" }, cache: "no-store" });
      if (response.redirected) return location.reload(); // logged out
      if (!response.ok) return;
      const fresh = new DOMParser().parseFromString(await response.text(), "text/html").querySelector("main");
      if (!fresh) return;
      document.title = fresh.dataset.title;
      morph(main, fresh);
      refreshed();
    } catch {
      // Not reachable just now; the next event or look tries again.
    }
  }

  function open() {
    if (source || document.hidden) return;
    source = new EventSource(`/live?topics=${encodeURIComponent(topics)}`);
    source.onopen = () => {
      main.dataset.live = "on";
      look(); // something may have happened before we listened
    };
    source.onmessage = look;
    source.onerror = () => {
      main.dataset.live = "off";
      if (source && source.readyState === EventSource.CLOSED) {
        close();
        retry = setTimeout(open, RETRY_MS);
      }
    };
  }

  function close() {
    clearTimeout(retry);
    source?.close();
    source = null;
  }

  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  window.addEventListener("pagehide", close);
  window.addEventListener("pageshow", open);
  setInterval(look, LOOK_MS);
  open();
}

// A click on a summary is a choice that the next look must not take back.
document.addEventListener("click", (event) => {
  const summary = event.target.closest("summary");
  if (summary) summary.parentElement.setAttribute("data-touched", "");
});
