// @ts-check
/** Where every page begins. */

import { refresh, unreachable } from "./cards.js";
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

/** A card in the dialog is not in the live channel: it is asked for until it is finished. */
setInterval(() => {
  const card = /** @type {HTMLElement | null} */ (
    document.querySelector('dialog[open] .card:is([data-status="queued"], [data-status="running"])')
  );
  if (card && !document.hidden) refresh(card.dataset.job ?? "").catch(() => {});
}, 2000);

/** The history shows what became of what was pressed in a card of its. */
let acted = false;
const dialog = byId("dialog");
dialog?.addEventListener("submit", () => (acted = true), true);
dialog?.addEventListener("close", async () => {
  if (dialog.open || !acted || !byId("tiles")) return;
  acted = false;
  try {
    const fresh = new DOMParser().parseFromString(await html(location.href), "text/html");
    const tiles = fresh.getElementById("tiles");
    if (tiles) byId("tiles").replaceWith(tiles);
  } catch {
    // what is there is old, and still true enough
  }
});

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
