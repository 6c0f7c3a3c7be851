// @ts-check
/** The line at the bottom: completion by keyboard, sending, and never losing what was typed. */

import { receive, unreachable } from "./cards.js";
import { offer } from "./complete.js";
import { build, byId, make, note, say, toast } from "./dom.js";
import { attachedNow, giveBack, takeAttached } from "./pictures.js";
import { freshKey, post } from "./net.js";
import { refreshPrices, watchPrice } from "./price.js";
import { divide } from "./timeline.js";

const DRAFT = "atelier-draft";
const LINES = "atelier-lines";
const MOST_LINES = 40;

/** @type {HTMLTextAreaElement} */
const line = byId("line");
const form = byId("composer");
const said = byId("said");
const box = byId("completion");
const list = byId("choices");
const about = byId("about-command");
/** @type {import("./complete.js").Command[]} */
const catalog = JSON.parse(byId("catalog")?.textContent ?? "[]");

/** @type {import("./complete.js").Offer | null} */
let open = null;
let chosen = -1;
let key = freshKey();
let recalled = -1;

/** Show what could come next, if anything. */
function suggest() {
  open = offer(line.value, line.selectionStart, catalog, say);
  if (line.selectionStart !== line.selectionEnd) open = null;
  chosen = open?.eager && open.choices.length ? 0 : -1;
  draw();
}

function draw() {
  box.hidden = !open || (!open.choices.length && !open.about);
  line.setAttribute("aria-expanded", String(!box.hidden));
  about.textContent = open?.about ?? "";
  list.replaceChildren(
    ...(open?.choices ?? []).map((choice, index) => {
      const item = make("li", "");
      item.id = `choice-${index}`;
      item.setAttribute("role", "option");
      item.setAttribute("aria-selected", String(index === chosen));
      item.append(make("b", "", choice.label), make("span", "", choice.help), make("small", "", choice.hint));
      item.addEventListener("pointerdown", (event) => {
        event.preventDefault();
        accept(index);
      });
      return item;
    }),
  );
  if (chosen >= 0) {
    line.setAttribute("aria-activedescendant", `choice-${chosen}`);
    list.children[chosen].scrollIntoView({ block: "nearest" });
  } else line.removeAttribute("aria-activedescendant");
}

/** @param {number} index */
function accept(index) {
  if (!open) return;
  const choice = open.choices[index];
  line.setRangeText(choice.insert, open.from, open.to, "end");
  line.focus();
  typed();
}

function close() {
  open = null;
  chosen = -1;
  draw();
}

/** @param {KeyboardEvent} event @returns {boolean} whether the list took the key */
function steer(event) {
  const count = open?.choices.length ?? 0;
  if (box.hidden) return false;
  if (event.key === "Escape") {
    close();
    return true;
  }
  if (!count) return false;
  if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    const step = event.key === "ArrowDown" ? 1 : -1;
    chosen = chosen < 0 ? (step > 0 ? 0 : count - 1) : (chosen + step + count) % count;
    draw();
    return true;
  }
  if (event.key === "Tab" && !event.shiftKey) {
    accept(Math.max(chosen, 0));
    return true;
  }
  if (event.key === "Enter" && !event.shiftKey && chosen >= 0) {
    accept(chosen);
    return true;
  }
  return false;
}

/** @returns {string[]} */
function lines() {
  try {
    const kept = JSON.parse(localStorage.getItem(LINES) ?? "[]");
    return Array.isArray(kept) ? kept.filter((one) => typeof one === "string") : [];
  } catch {
    return []; // written by something else
  }
}

/** @param {number} step */
function recall(step) {
  const all = lines();
  recalled = Math.min(Math.max(recalled + step, -1), all.length - 1);
  line.value = recalled < 0 ? "" : all[recalled];
  typed();
  close();
}

/** @param {KeyboardEvent} event */
function onKey(event) {
  if (event.isComposing || event.keyCode === 229) return; // an input method is choosing a word
  if (steer(event)) event.preventDefault();
  else if (event.key === "Enter" && !event.shiftKey) {
    event.preventDefault();
    form.requestSubmit();
  } else if (event.key === "ArrowUp" && (line.value === "" || recalled >= 0) && lines().length) {
    event.preventDefault();
    recall(1);
  } else if (event.key === "ArrowDown" && recalled >= 0) {
    event.preventDefault();
    recall(-1);
  }
}

/** After each change of the text. */
function typed() {
  key = freshKey();
  sessionStorage.setItem(DRAFT, line.value);
  grow();
  suggest();
}

function grow() {
  line.style.height = "auto";
  line.style.height = `${line.scrollHeight}px`;
}

/**
 * Send the line. It leaves the box at once, so that the next one can be typed, and comes back when
 * the answer is no; the same key then makes sending it again the same invocation.
 * @param {SubmitEvent} event
 */
async function send(event) {
  event.preventDefault();
  const [text, sent] = [line.value, key];
  if (!text.trim()) return;
  const files = takeAttached();
  remember(text);
  set("");
  sessionStorage.setItem(DRAFT, text);
  said.replaceChildren();
  byId("toasts").replaceChildren();
  try {
    const fields = new FormData();
    fields.set("line", text);
    fields.set("key", sent);
    files.forEach((file, index) => fields.set(`file${index}`, file));
    const answer = await post("/invoke", fields);
    if (answer.ok) {
      sessionStorage.setItem(DRAFT, line.value);
      receive(answer);
    } else {
      if (answer.toast) said.replaceChildren(build(answer.toast));
      restore(text, sent, files);
    }
  } catch (error) {
    said.replaceChildren(unreachable(error));
    restore(text, sent, files);
  }
}

/**
 * @param {string} text
 * @param {string} sent
 * @param {File[]} files
 */
function restore(text, sent, files) {
  if (line.value) return; // something newer is being typed; the arrow up key has the older one
  giveBack(files);
  set(text);
  key = sent;
  line.focus();
}

/** @param {string} text */
function remember(text) {
  const all = [text, ...lines().filter((one) => one !== text)].slice(0, MOST_LINES);
  localStorage.setItem(LINES, JSON.stringify(all));
  recalled = -1;
}

/** @param {string} text */
function set(text) {
  line.value = text;
  typed();
  close();
  refreshPrices();
}

async function newConversation() {
  try {
    await post("/conversation", {});
    divide();
    toast(note(say("new_conversation"), "good"), 3000);
    line.focus();
  } catch (error) {
    toast(unreachable(error));
  }
}

/** Nothing of what was typed stays in this browser. */
function forget() {
  localStorage.removeItem(LINES);
  sessionStorage.removeItem(DRAFT);
  recalled = -1;
}

/** What the line would cost as it stands; pictures go along, since sizes follow from them. */
function priced() {
  const text = line.value.trim();
  if (!text || /^[/／]\S*$/.test(text)) return null; // a command that is still being typed
  const fields = new FormData();
  fields.set("line", text);
  attachedNow().forEach((file, index) => fields.set(`file${index}`, file));
  return fields;
}

/** Start the composer. */
export function startComposer() {
  if (!line.value) line.value = sessionStorage.getItem(DRAFT) ?? "";
  grow();
  watchPrice(form, byId("line-price"), priced, { refusals: false });
  line.addEventListener("input", () => {
    recalled = -1;
    typed();
  });
  line.addEventListener("keydown", onKey);
  line.addEventListener("click", suggest);
  line.addEventListener("blur", close);
  form.addEventListener("submit", send);
  document.addEventListener("atelier:forgotten", forget);
  byId("new-conversation").addEventListener("click", newConversation);
  for (const starter of document.querySelectorAll("[data-line]")) {
    starter.addEventListener("click", () => {
      set(/** @type {HTMLElement} */ (starter).dataset.line ?? "");
      form.requestSubmit();
    });
  }
  document.addEventListener("keydown", (event) => {
    const target = /** @type {HTMLElement} */ (event.target);
    const writing = target.closest("input, textarea, select, dialog");
    if (event.key !== "/" || writing || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    line.focus();
    if (!line.value) set("/");
    suggest();
  });
  if (matchMedia("(hover: hover)").matches && !location.hash) line.focus();
}
