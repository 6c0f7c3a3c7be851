// @ts-check
/** Where every page begins. */

import "./cards.js";
import * as dialogs from "./dialogs.js";
import { byId, toast } from "./dom.js";
import { unreachable } from "./cards.js";
import { get, html, post } from "./net.js";
import { startControls } from "./panel.js";

const THEMES = ["auto", "light", "dark"];
const theme = byId("theme");

theme?.addEventListener("click", (/** @type {Event} */ event) => {
  event.preventDefault();
  const root = document.documentElement;
  const now = THEMES.indexOf(root.dataset.theme ?? "auto");
  const next = THEMES[(now + 1) % THEMES.length];
  root.dataset.theme = next;
  theme.value = THEMES[(now + 2) % THEMES.length];
  post("/preferences", { theme: next }).catch(() => {});
});

startControls();

if (byId("timeline")) {
  const [timeline, composer, panel, live] = await Promise.all([
    import("./timeline.js"), import("./composer.js"), import("./panel.js"), import("./live.js"),
  ]);
  timeline.startTimeline();
  composer.startComposer();
  panel.startPanel();
  live.startLive();
}

document.addEventListener("click", async (event) => {
  const target = /** @type {HTMLElement} */ (event.target);
  const tile = /** @type {HTMLElement | null} */ (target.closest("[data-card]"));
  const more = /** @type {HTMLElement | null} */ (target.closest("[data-more]"));
  if ((!tile && !more) || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  try {
    if (tile) {
      const answer = await get(`/cards/${encodeURIComponent(tile.dataset.card ?? "")}`);
      if (answer.card) dialogs.card(answer.card);
    } else if (more) more.outerHTML = await html(more.dataset.more ?? "");
  } catch (error) {
    toast(unreachable(error));
  }
});
