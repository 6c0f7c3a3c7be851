// @ts-check
/** The channel's cards: put in order, changed in place, kept in view. */

import { Idiomorph } from "../vendor/idiomorph.js";
import { announce, build, byId, make, say } from "./dom.js";
import { get } from "./net.js";

const timeline = byId("timeline");
const scroll = byId("scroll");
/** How far a job is; a card never goes back. @type {Record<string, number>} */
const RANK = { queued: 0, running: 1, succeeded: 2, failed: 2, rejected: 2, cancelled: 2 };
const NEAR = 140;
let pinned = true;

/** @type {Map<string, number>} when each open card last changed */
const touched = new Map();

/** @param {string} status */
const rank = (status) => RANK[status] ?? 0;

/**
 * Show a job's card: change the one that is there, or put a new one in its place by time.
 * @param {string} job
 * @param {string} markup
 * @param {{ follow?: boolean, force?: boolean, quiet?: boolean }} [how]
 */
export function put(job, markup, how = {}) {
  const fresh = build(markup);
  const old = document.getElementById(`job-${job}`);
  if (old) {
    const [before, after] = [old.dataset.status ?? "", fresh.dataset.status ?? ""];
    if (rank(after) < rank(before)) return;
    change(old, fresh);
    if (!how.quiet) tell(before, after);
  } else if (timeline) {
    fresh.classList.add("arrive");
    place(fresh, job);
    if (!how.quiet) tell("", fresh.dataset.status ?? "");
    byId("welcome").hidden = true;
  }
  touched.set(job, Date.now());
  if (how.follow) follow();
  else keep();
}

/**
 * Change a card in place: focus, open recipes and revealed pictures stay as they are.
 * @param {HTMLElement} old
 * @param {HTMLElement} fresh
 */
function change(old, fresh) {
  const held = old.contains(document.activeElement);
  for (const picture of old.querySelectorAll(".frame:not(.blurred)")) {
    const id = /** @type {HTMLElement} */ (picture.closest("[data-generation]"))?.dataset.generation;
    const same = fresh.querySelector(`[data-generation="${CSS.escape(id ?? "")}"] .frame.blurred`);
    same?.classList.remove("blurred");
    same?.querySelector("[data-reveal]")?.remove();
  }
  for (const recipe of old.querySelectorAll("details[open]")) {
    fresh.querySelector(`details.${recipe.className}`)?.setAttribute("open", "");
  }
  Idiomorph.morph(old, fresh, { morphStyle: "outerHTML" });
  if (held && !old.contains(document.activeElement)) old.focus({ preventScroll: true });
}

/**
 * @param {HTMLElement} card
 * @param {string} job
 */
function place(card, job) {
  const cards = [...timeline.querySelectorAll(":scope > .card")];
  const next = cards.find((other) => other.dataset.job > job);
  timeline.insertBefore(card, next ?? null);
}

/**
 * @param {string} before
 * @param {string} after
 */
function tell(before, after) {
  if (before === after || !after) return;
  announce(say(after === "running" ? "started" : after));
}

/** Go to the newest card and stay there. */
export function follow() {
  pinned = true;
  keep();
}

function keep() {
  if (scroll && pinned) scroll.scrollTop = scroll.scrollHeight;
}

/** Read everything anew: after a lost connection or a restart. */
export async function reread() {
  const answer = await get("/timeline");
  const seen = new Set();
  for (const { job, card } of answer.cards) {
    seen.add(job);
    put(job, card, { force: true, quiet: true });
  }
  return answer.cursor;
}

/** The member was forgotten: only what a moderator still looks at comes back. */
function forget() {
  timeline.replaceChildren();
  byId("welcome").hidden = false;
  byId("earlier").hidden = true;
  void reread().catch(() => {});
}

/** @returns {string[]} jobs that are not finished and have not changed for a while */
export function quietJobs(milliseconds = 5000) {
  const open = timeline.querySelectorAll('[data-status="queued"], [data-status="running"]');
  return [...open]
    .map((card) => card.dataset.job)
    .filter((job) => Date.now() - (touched.get(job) ?? 0) > milliseconds);
}

async function earlier() {
  const button = byId("earlier");
  const first = timeline.querySelector(".card");
  if (!first || button.getAttribute("aria-busy")) return;
  button.setAttribute("aria-busy", "true");
  try {
    const answer = await get(`/timeline?before=${encodeURIComponent(first.dataset.job)}`);
    const height = scroll.scrollHeight;
    pinned = false;
    for (const { job, card } of answer.cards) put(job, card, { quiet: true });
    scroll.scrollTop += scroll.scrollHeight - height;
    button.hidden = !answer.more;
  } finally {
    button.removeAttribute("aria-busy");
  }
}

/** The waits that count down: "about 12 s". */
function tick() {
  for (const element of timeline.querySelectorAll("[data-eta]")) {
    const seconds = Math.max(0, Math.round((Number(element.dataset.eta) - Date.now()) / 1000));
    const words =
      seconds < 2 ? say("soon")
      : seconds < 90 ? say("seconds", { n: seconds })
      : say("minutes", { n: Math.round(seconds / 60) });
    if (element.textContent !== words) element.textContent = words;
  }
}

/** A line between two conversations. */
export function divide() {
  const last = timeline.lastElementChild;
  if (!last || last.matches(".divider")) return;
  timeline.append(make("p", "divider", say("conversation")));
  follow();
}

/** Start keeping the timeline. */
export function startTimeline() {
  const newest = byId("newest");
  scroll.addEventListener("scroll", () => {
    pinned = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < NEAR;
    newest.hidden = pinned;
  });
  newest.addEventListener("click", follow);
  document.addEventListener("atelier:forgotten", forget);
  byId("earlier").addEventListener("click", earlier);
  new ResizeObserver(keep).observe(timeline);
  new ResizeObserver(keep).observe(scroll);
  setInterval(tick, 1000);
  const wanted = location.hash.startsWith("#job-") && document.getElementById(location.hash.slice(1));
  if (wanted) {
    pinned = false;
    wanted.scrollIntoView({ block: "center" });
  } else follow();
}
