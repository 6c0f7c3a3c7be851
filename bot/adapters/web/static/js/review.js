// @ts-check
/** The review room by keyboard: J and K move, A B D S E R decide and reveal, U takes back. */

import { byId } from "./dom.js";
import { freshKey, get, post, Unreachable } from "./net.js";

const KEYS = /** @type {Record<string, string>} */ ({
  a: "approve", b: "blur", d: "deny", s: "strike", e: "escalate", h: "uphold", o: "overturn",
});
const EVERY_MS = 5000;

const list = byId("queue");
const card = byId("case");
let open = "";
let last = "";
let busy = false;

/** @returns {HTMLButtonElement[]} */
const rows = () => [...list.querySelectorAll("[data-case]")];

/** @param {string} text */
function status(text) {
  byId("status").textContent = text;
}

/**
 * Show one case.
 * @param {string} id
 */
async function show(id) {
  open = id;
  for (const row of rows()) row.toggleAttribute("aria-current", row.dataset.case === id);
  rows().find((row) => row.dataset.case === id)?.scrollIntoView({ block: "nearest" });
  if (!id) return;
  const answer = await get(`/review/cases/${id}`);
  if (open !== id) return;
  card.innerHTML = answer.ok ? answer.case : "";
  if (!answer.ok) card.textContent = answer.text;
  const undo = card.querySelector("#undo");
  if (undo && last) {
    undo.hidden = false;
    undo.querySelector("button").addEventListener("click", takeBack);
  }
}

/** @param {number} step */
function move(step) {
  const all = rows();
  if (!all.length) return;
  const at = all.findIndex((row) => row.dataset.case === open);
  const next = all[Math.max(0, Math.min(all.length - 1, at < 0 ? 0 : at + step))];
  void show(next.dataset.case ?? "");
}

/**
 * The rule the strongest finding points to, as the card's own title says it.
 * @returns {string}
 */
const suggested = () => rows().find((row) => row.dataset.case === open)?.querySelector("b")?.textContent ?? "";

/**
 * Decide the open case, and go on with the next.
 * @param {string} verb
 */
async function decide(verb) {
  const button = /** @type {HTMLButtonElement | null} */ (card.querySelector(`[data-verb="${verb}"]`));
  if (!button || busy) return;
  busy = true;
  try {
    const alike = card.querySelector("#alike")?.checked;
    const code = suggested() === "–" ? "SEX" : suggested();
    const fields = { verb, target: button.dataset.target ?? "", key: freshKey() };
    const answer = alike
      ? await post("/review/alike", { ...fields, code })
      : await post("/press", { ...fields, "v.code": code, "v.note": "" });
    if (!answer.ok) {
      status(/** @type {any} */ (answer).text ?? "");
      card.querySelector(".case-buttons")?.insertAdjacentHTML("afterend", answer.toast ?? "");
      return;
    }
    const made = /** @type {any} */ (answer);
    last = made.decisions?.[0] ?? made.decision ?? "";
    const at = rows().findIndex((row) => row.dataset.case === open);
    rows()[at]?.closest("li")?.remove();
    const next = rows()[Math.min(at, rows().length - 1)];
    card.innerHTML = "";
    await show(next?.dataset.case ?? "");
    count();
  } catch (error) {
    if (!(error instanceof Unreachable)) throw error;
    status("…");
  } finally {
    busy = false;
  }
}

async function takeBack() {
  if (!last) return;
  const answer = await post("/press", { verb: "undo", target: last, key: freshKey() });
  last = "";
  if (answer.ok) await refresh();
}

function reveal() {
  const image = /** @type {HTMLImageElement | null} */ (card.querySelector("#held"));
  if (image && image.dataset.clear) {
    image.src = image.dataset.clear;
    delete image.dataset.clear;
  }
}

function count() {
  byId("count").textContent = String(rows().length);
  byId("empty").hidden = rows().length > 0;
}

/** The queue as it is now; what is open stays open. */
async function refresh() {
  if (document.hidden || busy) return;
  const code = byId("code").value;
  const answer = await get(`/review/queue?code=${encodeURIComponent(code)}`);
  const known = new Set(rows().map((row) => row.dataset.case));
  const now = new Set(answer.cases.map((/** @type {any} */ one) => one.id));
  for (const row of rows()) if (!now.has(row.dataset.case)) row.closest("li")?.remove();
  for (const one of answer.cases) {
    if (known.has(one.id)) continue;
    const row = document.createElement("button");
    row.className = `case-row severity-${one.severity}`;
    row.dataset.case = one.id;
    const name = document.createElement("b");
    name.textContent = one.code;
    row.append(name);
    const item = document.createElement("li");
    item.append(row);
    list.append(item);
  }
  count();
  if (!open) move(0);
}

list.addEventListener("click", (/** @type {Event} */ event) => {
  const row = /** @type {HTMLElement} */ (event.target).closest("[data-case]");
  if (row instanceof HTMLElement) void show(row.dataset.case ?? "");
});

card.addEventListener("click", (/** @type {Event} */ event) => {
  const button = /** @type {HTMLElement} */ (event.target).closest("[data-verb]");
  if (!(button instanceof HTMLElement)) return;
  const verb = button.dataset.verb ?? "";
  if (verb === "reveal") reveal();
  else if (verb === "ask" || verb === "ban") void words(verb, button);
  else void decide(verb);
});

/**
 * A ruling that needs words of its own: a line under the buttons, Enter sends it.
 * @param {string} verb
 * @param {HTMLElement} button
 */
function words(verb, button) {
  const line = document.createElement("input");
  line.placeholder = button.textContent?.trim() ?? "";
  line.setAttribute("aria-label", line.placeholder);
  line.maxLength = 2000;
  line.className = "line";
  button.closest(".case-buttons")?.after(line);
  line.focus();
  line.addEventListener("keydown", async (event) => {
    if (event.key === "Escape") line.remove();
    if (event.key !== "Enter") return;
    const fields = { verb, target: button.dataset.target ?? "", key: freshKey() };
    const answer = await post("/press", { ...fields, "v.code": suggested(), "v.note": line.value });
    if (answer.ok) void show(open);
    else card.querySelector(".case-buttons")?.insertAdjacentHTML("afterend", answer.toast ?? "");
    line.remove();
    await refresh();
  });
}

document.addEventListener("keydown", (event) => {
  const target = /** @type {HTMLElement} */ (event.target);
  if (event.ctrlKey || event.metaKey || event.altKey || target.closest("input, select, textarea")) return;
  const key = event.key.toLowerCase();
  if (key === "j") move(1);
  else if (key === "k") move(-1);
  else if (key === "r") reveal();
  else if (key === "u") void takeBack();
  else if (key in KEYS) void decide(KEYS[key]);
  else return;
  event.preventDefault();
});

byId("code").addEventListener("change", () => byId("filter").click());
setInterval(() => void refresh().catch(() => {}), EVERY_MS);
count();
if (rows().length) move(0);
