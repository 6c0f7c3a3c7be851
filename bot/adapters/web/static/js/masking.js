// @ts-check
/** What only counts with a start picture: kept back without one; and the mask painted over it. */

import { note, say, toast } from "./dom.js";
import { paintMask } from "./mask.js";
import { put } from "./pictures.js";

const NEEDS_START = ["strength", "mask", "outpaint"];

/**
 * The file of an option as a bitmap, or null.
 * @param {HTMLInputElement} input
 */
async function bitmapOf(input) {
  const file = input.files?.[0];
  if (!file) return null;
  try {
    return await createImageBitmap(file);
  } catch {
    toast(note(say("mask_broken"), "warn"));
    return null;
  }
}

/**
 * @param {HTMLFormElement} form
 * @param {boolean} started
 */
function allow(form, started) {
  for (const name of NEEDS_START) {
    const field = form.querySelector(`[data-name="${name}"]`);
    field?.classList.toggle("waiting", !started);
    for (const input of field?.querySelectorAll("input, button") ?? []) {
      /** @type {HTMLInputElement} */ (input).disabled = !started;
    }
  }
}

/**
 * Start what belongs to the start picture of a form.
 * @param {HTMLFormElement} form
 */
export function startMask(form) {
  /** @type {HTMLInputElement | null} */
  const start = form.querySelector('[data-name="image"] input[type="file"]');
  /** @type {HTMLInputElement | null} */
  const mask = form.querySelector('[data-name="mask"] input[type="file"]');
  if (!start) return;
  const drop = /** @type {HTMLElement | null | undefined} */ (mask?.closest("[data-put]"));
  const changed = () => allow(form, Boolean(start.files?.length));
  start.addEventListener("change", () => {
    if (drop && mask?.value) put(drop, undefined); // it was painted over another picture
    changed();
  });
  form.addEventListener("reset", () => setTimeout(changed));
  form.querySelector("[data-draw]")?.addEventListener("click", async (event) => {
    const picture = await bitmapOf(start);
    if (!picture || !mask || !drop) return;
    const painted = await paintMask(picture, await bitmapOf(mask));
    if (painted) put(drop, painted);
    /** @type {HTMLElement} */ (event.currentTarget ?? form.querySelector("[data-draw]"))?.focus();
  });
  changed();
}
