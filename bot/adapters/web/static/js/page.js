// @ts-check
/** Where every page begins. */

import { unreachable } from "./cards.js";
import * as dialogs from "./dialogs.js";
import { byId, toast } from "./dom.js";
import { get, html, post } from "./net.js";
import { startComposer } from "./composer.js";
import { startPictures } from "./pictures.js";
import { startLive } from "./live.js";
import { startControls, startPanel } from "./panel.js";
import { startSettings } from "./settings.js";
import { startTimeline } from "./timeline.js";

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

document.querySelector(".top nav [aria-current]")?.scrollIntoView({ inline: "center", block: "nearest" });
startControls();
startPictures();
if (document.querySelector("main.settings")) startSettings();

if (byId("timeline")) {
  startTimeline();
  startComposer();
  startPanel();
  startLive();
}
document.documentElement.dataset.ready = "";

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
