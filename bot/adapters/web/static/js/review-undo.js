// @ts-check
/** Taking back: the last ruling for a minute, the last bulk act for ten. */

import { announce, byId, note, say, toast } from "./dom.js";
import { freshKey, post } from "./net.js";

const ONE_MS = 60_000;
const BULK_MS = 600_000;

/** @typedef {{ decision?: string, id?: string, batch?: string, ids?: string[], until?: number }} Last */
/** @type {Last | null} */
let last = null;
/** @type {number | undefined} */
let ticking;

/**
 * @param {string} said what was done
 * @param {Last} what
 */
export function offerUndo(said, what) {
  last = { ...what, until: Date.now() + (what.batch ? BULK_MS : ONE_MS) };
  const bar = byId("undo");
  bar.querySelector(".said").textContent = said;
  bar.hidden = false;
  clearInterval(ticking);
  const tick = () => {
    const left = Math.round(((last?.until ?? 0) - Date.now()) / 1000);
    if (left <= 0) {
      hide();
      return;
    }
    bar.querySelector(".left").textContent = left < 90
      ? say("left_seconds", { n: left }) : say("left_minutes", { n: Math.ceil(left / 60) });
  };
  tick();
  ticking = setInterval(tick, 1000);
}

function hide() {
  clearInterval(ticking);
  last = null;
  byId("undo").hidden = true;
}

/**
 * @returns {Promise<{ ids: string[] } | null>} the cases that wait again
 */
export async function takeBack() {
  const what = last;
  if (!what) return null;
  hide();
  const answer = /** @type {any} */ (what.batch
    ? await post("/review/bulk/undo", { batch: what.batch })
    : await post("/review/press", { verb: "undo", target: what.decision ?? "", key: freshKey() }));
  if (!answer.ok) {
    toast(note(answer.text, "bad"));
    announce(answer.text);
    return null;
  }
  announce(say("taken_back"));
  return { ids: what.ids ?? [what.id ?? ""] };
}
