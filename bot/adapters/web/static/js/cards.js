// @ts-check
/** What can be done on any card: press, copy, look, reveal. Works on every page. */

import { build, byId, note, say, toast } from "./dom.js";
import * as dialogs from "./dialogs.js";
import { freshKey, get, html, post, Unreachable } from "./net.js";
import { refreshPrices } from "./price.js";
import { put } from "./timeline.js";

/**
 * Show what the server answered to a post.
 * @param {import("./net.js").Answer} answer
 * @returns {boolean} whether it was a card
 */
export function receive(answer) {
  if (answer.form) {
    dialogs.form(answer.form, receive);
    return false;
  }
  if (answer.card && answer.job) {
    const shown = document.getElementById(`job-${answer.job}`);
    put(answer.job, answer.card, { follow: true });
    if (!shown && !byId("timeline")) dialogs.card(answer.card); // no channel here to put it into
    refreshBalance();
    return true;
  }
  if (answer.forgotten) document.dispatchEvent(new Event("atelier:forgotten"));
  if (answer.toast) {
    const message = build(answer.toast);
    toast(message, message.matches(".tone-good") ? 6000 : 0); // what there is to read, stays
    if (message.matches(".tone-good")) document.dispatchEvent(new Event("atelier:saved"));
  }
  return false;
}

let asked = 0;

/** The credits in the header; of two answers that overtake each other, the later question's. */
export async function refreshBalance() {
  const turn = ++asked;
  try {
    const fresh = await html("/balance");
    if (turn === asked) byId("balance").innerHTML = fresh;
    refreshPrices();
  } catch {
    // the next card asks again
  }
}

/**
 * Say that the server could not be asked.
 * @param {unknown} error
 */
export function unreachable(error) {
  if (!(error instanceof Unreachable)) throw error;
  return note(say(error.status === 401 ? "signed_out" : "offline"), "bad");
}

/** @param {HTMLFormElement} form */
async function press(form) {
  if (form.getAttribute("aria-busy") === "true") return;
  const question = form.dataset.confirm;
  if (question && !(await dialogs.confirm(question, form.dataset.yes ?? ""))) return;
  form.setAttribute("aria-busy", "true");
  const card = /** @type {HTMLElement | null} */ (form.closest(".card"));
  try {
    const fields = new FormData(form);
    fields.set("key", freshKey());
    const answer = await post("/press", fields);
    receive(answer);
    const job = card?.dataset.job;
    if (job && answer.ok && !answer.form && answer.job !== job) await refresh(job);
    refreshBalance();
  } catch (error) {
    toast(unreachable(error));
  } finally {
    form.removeAttribute("aria-busy");
  }
}

/**
 * Read a card anew.
 * @param {string} job
 */
export async function refresh(job) {
  const answer = await get(`/cards/${encodeURIComponent(job)}`);
  if (answer.card) put(job, answer.card, { force: true });
}

/** @param {HTMLElement} button */
async function copy(button) {
  try {
    await navigator.clipboard.writeText(button.dataset.copy ?? "");
  } catch {
    return;
  }
  button.classList.add("copied");
  toast(note(say("copied"), "good"), 1500);
  setTimeout(() => button.classList.remove("copied"), 1500);
}

document.addEventListener("submit", (event) => {
  const form = /** @type {HTMLFormElement} */ (event.target);
  if (!form.matches("form.press")) return;
  event.preventDefault();
  press(form);
});

document.addEventListener("click", (event) => {
  const target = /** @type {HTMLElement} */ (event.target);
  const plain = !event.ctrlKey && !event.metaKey && !event.shiftKey;
  const copied = /** @type {HTMLElement | null} */ (target.closest("[data-copy]"));
  const looked = /** @type {HTMLAnchorElement | null} */ (target.closest("[data-view]"));
  if (copied) copy(copied);
  else if (looked && plain) {
    event.preventDefault();
    dialogs.view(looked);
  } else if (target.closest("[data-dismiss]")) target.closest(".toast")?.remove();
  else if (target.closest("[data-reveal]")) {
    target.closest(".frame")?.classList.remove("blurred");
    target.closest("[data-reveal]")?.remove();
  }
});
