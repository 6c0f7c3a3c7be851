// @ts-check
/**
 * The review room by keyboard: J and K move, A B D S E decide, R reveals, U takes back.
 *
 * A ruling shows the next case at once and is sent meanwhile; the next cards are fetched before
 * they are needed. What the server refuses comes back into the list, and says why.
 */

import { announce, byId, note, say, toast } from "./dom.js";
import { freshKey, get, post, Unreachable } from "./net.js";
import { cardOf, drop, fetchCard, forget } from "./review-cards.js";
import { bulk, chosen, wireFilters } from "./review-filters.js";
import { offerUndo, takeBack } from "./review-undo.js";

const KEYS = /** @type {Record<string, string>} */ ({
  a: "approve", b: "blur", d: "deny", s: "strike", e: "escalate", h: "uphold", o: "overturn",
  q: "ask", x: "ban", g: "agree",
});
const NEEDS_CODE = new Set(["deny", "strike", "ban", "look_deny"]);
const EVERY_MS = 5000;
const CLAIM_AFTER_MS = 1200;
/** Cards fetched ahead of the open one. */
const AHEAD = 3;

const list = byId("queue");
const place = byId("case");
let open = "";
let blind = false;
let claimed = "";
/** @type {number | undefined} */
let claiming;
/** Rulings on their way, one after the other. */
let sending = Promise.resolve();
let underway = 0;
/** Decided here, perhaps not there yet. @type {Set<string>} */
const gone = new Set();

/** @returns {HTMLButtonElement[]} */
const rows = () => [...list.querySelectorAll("[data-case]")];
/** @param {string} id */
const rowOf = (id) => rows().find((row) => row.dataset.case === id);
/** @returns {HTMLElement | null} */
const card = () => place.querySelector(".case-card");

/** @param {string} text */
const complain = (text) => {
  toast(note(text, "bad"));
  announce(text);
};

/** A lock for who stays on a case; given back when they leave it undecided. */
function keepLock() {
  clearTimeout(claiming);
  if (claimed && claimed !== open) {
    void post("/review/claim", { target: claimed, verb: "release" }).catch(() => {});
    claimed = "";
  }
  if (!open || blind) return;
  const id = open;
  claiming = setTimeout(async () => {
    const answer = await post("/review/claim", { target: id }).catch(() => null);
    if (answer?.ok && open === id) claimed = id;
    else if (answer?.ok) void post("/review/claim", { target: id, verb: "release" }).catch(() => {});
  }, CLAIM_AFTER_MS);
}

/**
 * Show one case.
 * @param {string} id
 * @param {boolean} [second] as a blind second look
 */
async function show(id, second = false) {
  open = id;
  blind = second;
  for (const row of rows()) {
    if (row.dataset.case === id) row.setAttribute("aria-current", "true");
    else row.removeAttribute("aria-current");
  }
  rowOf(id)?.scrollIntoView({ block: "nearest" });
  keepLock();
  if (!id) {
    place.replaceChildren();
    return;
  }
  const ready = cardOf(id, second);
  if (ready) place.replaceChildren(ready);
  else {
    place.toggleAttribute("aria-busy", true);
    try {
      const fetched = await fetchCard(id, second);
      if (open !== id) return;
      place.replaceChildren(fetched);
    } catch (error) {
      if (open === id) place.replaceChildren(Object.assign(document.createElement("p"), {
        className: "empty", textContent: error instanceof Error ? error.message : "",
      }));
    } finally {
      place.removeAttribute("aria-busy");
    }
  }
  ahead();
}

/** Fetch what will probably be looked at next. */
function ahead() {
  const all = rows();
  const at = all.findIndex((row) => row.dataset.case === open);
  for (const row of all.slice(at + 1, at + 1 + AHEAD)) {
    if (row.dataset.case) void fetchCard(row.dataset.case).catch(() => {});
  }
}

/** @param {number} step */
function move(step) {
  const all = rows();
  if (!all.length) return;
  const at = all.findIndex((row) => row.dataset.case === open);
  const next = all[Math.max(0, Math.min(all.length - 1, at < 0 ? 0 : at + step))];
  if (next.dataset.case !== open) void show(next.dataset.case ?? "");
}

/** An admin takes the open case from whoever looks at it. */
async function takeOver() {
  const button = /** @type {HTMLElement | null} */ (card()?.querySelector('[data-verb="steal"]'));
  if (!button || blind) return;
  const id = open;
  let answer;
  try {
    answer = /** @type {any} */ (await post("/review/press", { verb: "steal", target: id, key: freshKey() }));
  } catch (error) {
    if (!(error instanceof Unreachable)) throw error;
    complain(say("offline"));
    return;
  }
  if (!answer.ok) {
    complain(answer.text);
    return;
  }
  drop(id);
  if (open !== id) return;
  await show(id);
  claimed = id;
  void refresh(true);
}

/**
 * Decide the open case, and go on with the next at once.
 * @param {string} verb
 */
function decide(verb) {
  const shown = card();
  const wanted = blind && (verb === "approve" || verb === "deny") ? `look_${verb}` : verb;
  const button = /** @type {HTMLButtonElement | null} */ (shown?.querySelector(`[data-verb="${wanted}"]`));
  if (!shown || !button) return;
  const code = /** @type {HTMLSelectElement | null} */ (shown.querySelector(".code"));
  const words = /** @type {HTMLInputElement | null} */ (shown.querySelector(".note"));
  const hours = /** @type {HTMLElement | null} */ (shown.querySelector(".hours"));
  if (NEEDS_CODE.has(wanted) && code && !code.value) {
    complain(say("rule_first"));
    code.focus();
    return;
  }
  if (wanted === "ask" && !words?.value.trim()) {
    complain(say("write_first"));
    words?.focus();
    return;
  }
  if (wanted === "ban" && hours?.hidden) {
    hours.hidden = false;
    hours.querySelector("input")?.focus();
    return;
  }
  performance.mark("ruled");
  const id = open;
  const second = blind;
  const row = rowOf(id);
  const item = row?.closest("li");
  const all = rows();
  const at = all.findIndex((one) => one.dataset.case === id);
  const after = all[at + 1] ?? all[at - 1];
  const fields = {
    verb: wanted, target: button.dataset.target ?? "", key: freshKey(), "v.code": code?.value ?? "",
    "v.note": words?.value ?? "", "v.hours": hours?.querySelector("input")?.value ?? "24",
    "v.sent": "1",
  };
  const said = `${button.firstChild?.textContent?.trim() ?? ""}${NEEDS_CODE.has(wanted) && code ? ` · ${code.value}` : ""}`;
  const next = item?.nextSibling ?? null;
  if (claimed === id) claimed = "";
  gone.add(id);
  item?.remove();
  count();
  void show(second ? "" : (after?.dataset.case ?? ""));
  requestAnimationFrame(() => performance.measure("ruling", "ruled"));
  underway += 1;
  sending = sending.then(() => send(fields, id, said, second, () => {
    if (item) list.insertBefore(item, next?.parentNode === list ? next : null);
  })).catch((error) => complain(String(error))).finally(() => (underway -= 1));
}

/**
 * @param {Record<string, string>} fields
 * @param {string} id
 * @param {string} said
 * @param {boolean} second
 * @param {() => void} putBack
 */
async function send(fields, id, said, second, putBack) {
  const began = performance.now();
  try {
    const answer = /** @type {any} */ (await post("/review/press", fields));
    performance.measure("answered", { start: began, end: performance.now() });
    forget(id);
    if (answer.ok) {
      if (answer.decision) offerUndo(said, { decision: answer.decision, id });
      else if (!second) gone.delete(id);
      return;
    }
    complain(answer.text);
    if (answer.code === "case_over" || answer.code === "case_unknown") return;
    gone.delete(id);
    putBack();
    count();
  } catch (error) {
    if (!(error instanceof Unreachable)) throw error;
    complain(say("offline"));
    gone.delete(id);
    putBack();
    count();
  }
}

async function undo() {
  await sending;
  const back = await takeBack();
  if (!back) return;
  for (const id of back.ids) gone.delete(id);
  await refresh(true);
  if (back.ids.length === 1) void show(back.ids[0]);
}

function reveal() {
  const image = /** @type {HTMLImageElement | null} */ (card()?.querySelector("img.held"));
  if (!image?.dataset.clear) return;
  image.src = image.dataset.clear;
  delete image.dataset.clear;
  image.closest("figure")?.classList.remove("veiled");
  image.closest("figure")?.querySelector("button")?.remove();
  forget(open);
}

function count() {
  byId("count").textContent = String(rows().length);
  byId("empty").hidden = rows().length > 0;
}

/**
 * A line of the queue, as the server's template makes it.
 * @param {any} one
 */
function line(one) {
  const row = document.createElement("button");
  const fill = () => {
    row.className = `case-row severity-${one.severity}${one.late ? " is-late" : ""}`;
    row.dataset.case = one.id;
    const parts = [["b", "", one.code], ["span", "name", one.name], ["span", "due", one.due],
      ["span", "who", one.status ? `${one.member} · ${one.status}` : one.member]];
    row.replaceChildren(...parts.map(([tag, name, text]) =>
      Object.assign(document.createElement(tag), { className: name, textContent: text })));
  };
  fill();
  const item = document.createElement("li");
  item.append(row);
  return item;
}

/**
 * The queue as it is now; what is open stays open.
 * @param {boolean} [always] also while the page is hidden
 */
async function refresh(always = false) {
  if ((document.hidden && !always) || underway) return;
  const answer = await get(`/review/queue?${chosen()}`);
  if (answer.code === "door_over") complain(answer.text); // a visit from a chat has ended
  if (!answer.cases || underway) return;
  byId("rest").hidden = !answer.rest;
  byId("rest").textContent = answer.rest;
  const second = byId("second");
  second.hidden = !answer.second.length;
  second.dataset.second = answer.second.join(" ");
  second.querySelector("span").textContent = String(answer.second.length);
  const focused = document.activeElement instanceof HTMLElement ? document.activeElement.dataset.case : "";
  const there = new Set(answer.cases.map((/** @type {any} */ one) => one.id));
  // What is no longer there may come back one day: reopened, appealed.
  for (const id of gone) if (!there.has(id)) gone.delete(id);
  const fresh = answer.cases.filter((/** @type {any} */ one) => !gone.has(one.id));
  const kept = list.scrollTop;
  list.replaceChildren(...fresh.map(line));
  list.scrollTop = kept;
  if (focused) rowOf(focused)?.focus();
  rowOf(open)?.setAttribute("aria-current", "true");
  count();
  if (!open && !place.querySelector(".case-card")) move(0);
  const shown = card();
  if (shown?.hasAttribute("data-translating")) await renew(shown);
}

/**
 * A translation may be there by now; what was typed stays.
 * @param {HTMLElement} shown
 */
async function renew(shown) {
  const id = open;
  drop(id);
  const fresh = await fetchCard(id, blind).catch(() => null);
  if (!fresh || open !== id || fresh.hasAttribute("data-translating")) return;
  const [now, then] = [shown, fresh].map((one) => one.querySelector(".case-words"));
  if (now && then) now.replaceWith(then);
  shown.removeAttribute("data-translating");
}

list.addEventListener("click", (/** @type {Event} */ event) => {
  const row = /** @type {HTMLElement} */ (event.target).closest("[data-case]");
  if (row instanceof HTMLElement) void show(row.dataset.case ?? "");
});
place.addEventListener("click", (/** @type {Event} */ event) => {
  const target = /** @type {HTMLElement} */ (event.target);
  const button = target.closest("[data-verb]");
  if (button instanceof HTMLElement) {
    if (button.dataset.verb === "reveal") reveal();
    else if (button.dataset.verb === "steal") void takeOver();
    else decide(button.dataset.verb ?? "");
  }
  const alike = target.closest("[data-alike]");
  if (alike instanceof HTMLElement) void bulk({ alike: alike.dataset.alike ?? "" }, decided);
  const member = target.closest("[data-member]");
  if (member instanceof HTMLElement) {
    document.querySelector(".filters")?.setAttribute("open", "");
    /** @type {HTMLInputElement} */ (document.querySelector("#filters [name=member]")).value = member.dataset.member ?? "";
    void refresh(true);
  }
});
place.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
  if (event.key === "Escape") /** @type {HTMLElement} */ (event.target).blur();
});

/**
 * Many were decided at once.
 * @param {string} batch
 * @param {string[]} ids
 * @param {string} said
 */
function decided(batch, ids, said) {
  for (const id of ids) {
    gone.add(id);
    forget(id);
  }
  offerUndo(said, { batch, ids });
  open = "";
  place.replaceChildren();
  void refresh(true).then(() => ids.forEach((id) => gone.delete(id)));
}

for (const button of document.querySelectorAll("[data-step]")) {
  button.addEventListener("click", () => move(Number(/** @type {HTMLElement} */ (button).dataset.step)));
}
byId("second").addEventListener("click", () => void show((byId("second").dataset.second ?? "").split(" ")[0], true));
byId("undo").querySelector("button").addEventListener("click", () => void undo());
document.querySelector("[data-duty]")?.addEventListener("click", async (event) => {
  const button = /** @type {HTMLElement} */ (event.currentTarget);
  const answer = /** @type {any} */ (await post("/review/press", { verb: "duty", target: button.dataset.duty ?? "", key: freshKey() }));
  if (answer.ok) byId("duty").remove();
  toast(note(answer.text, answer.ok ? "good" : "bad"));
});

document.addEventListener("keydown", (event) => {
  const target = /** @type {HTMLElement} */ (event.target);
  if (event.ctrlKey || event.metaKey || event.altKey || target.closest("input, select, textarea, dialog")) return;
  const key = event.key.toLowerCase();
  if (key === "j") move(1);
  else if (key === "k") move(-1);
  else if (key === "r") reveal();
  else if (key === "t") void takeOver();
  else if (key === "u") void undo();
  else if (key === "c") /** @type {HTMLElement | null} */ (card()?.querySelector(".code"))?.focus();
  else if (key === "n") /** @type {HTMLElement | null} */ (card()?.querySelector(".note"))?.focus();
  else if (key in KEYS) {
    if (!event.repeat) decide(KEYS[key]);
  } else return;
  event.preventDefault();
});

wireFilters(() => void refresh(true), decided);
setInterval(() => void refresh().catch(() => {}), EVERY_MS);
count();
if (rows().length) move(0);
