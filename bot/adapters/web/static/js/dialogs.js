// @ts-check
/** The one dialog of the page: a question, a form, a picture, a card. */

import { build, byId, make, say } from "./dom.js";
import { freshKey, post, Unreachable } from "./net.js";

/** @type {HTMLDialogElement} */
const dialog = byId("dialog");
const body = /** @type {HTMLElement} */ (dialog.querySelector(".dialog-body"));
/** Messages: what a dialog covers cannot be read, so they go where it is. */
const toasts = byId("toasts");
/** @type {(yes: boolean) => void} */
let decided = () => {};

dialog.addEventListener("close", () => {
  if (dialog.open) return; // closing is told late: it shows something else already
  body.replaceChildren();
  document.body.append(toasts);
  settle(); // last: a no may open again what was there before
});
dialog.addEventListener("click", (event) => {
  const target = /** @type {HTMLElement} */ (event.target);
  if (target === dialog || target.closest("[data-close]")) dialog.close();
});

/** A question that was not answered with yes is answered with no. */
function settle() {
  const answer = decided;
  decided = () => {};
  answer(false);
}

/**
 * Open the dialog on something.
 * @param {string} kind
 * @param {...Node} content
 */
export function show(kind, ...content) {
  settle();
  if (dialog.open) dialog.close();
  dialog.className = kind;
  body.replaceChildren(...content);
  dialog.append(toasts);
  dialog.showModal();
}

/**
 * Ask before acting. What the dialog showed before, a card, is there again afterwards.
 * @param {string} question
 * @param {string} yes what the acting button says
 * @returns {Promise<boolean>}
 */
export function confirm(question, yes) {
  const before = dialog.open ? { kind: dialog.className, nodes: [...body.childNodes] } : null;
  const heading = make("h2", "", question);
  heading.id = "dialog-question";
  dialog.setAttribute("aria-labelledby", heading.id);
  const actions = make("div", "actions end");
  const keep = make("button", "button", say("no"));
  keep.dataset.close = "";
  const act = make("button", "button danger solid", yes);
  actions.append(keep, act);
  show("question", heading, actions);
  keep.focus();
  return new Promise((resolve) => {
    const answer = (/** @type {boolean} */ sure) => {
      if (before) show(before.kind, ...before.nodes);
      resolve(sure);
    };
    decided = answer;
    act.addEventListener("click", () => {
      decided = () => {};
      dialog.close();
      answer(true);
    });
  });
}

/**
 * A server-made form, sent as an invocation. Stays open, with its message, when the answer is no.
 * @param {string} markup
 * @param {(answer: import("./net.js").Answer) => void} done
 */
export function form(markup, done) {
  const element = /** @type {HTMLFormElement} */ (build(markup));
  const said = /** @type {HTMLElement} */ (element.querySelector(".said"));
  const key = freshKey();
  element.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (element.getAttribute("aria-busy") === "true") return;
    element.setAttribute("aria-busy", "true");
    said.replaceChildren();
    try {
      const fields = new FormData(element);
      fields.set("key", key);
      const answer = await post(element.getAttribute("action") ?? "/invoke", fields);
      if (answer.ok) {
        dialog.close();
        done(answer);
      } else if (answer.toast) {
        said.replaceChildren(build(answer.toast));
        said.scrollIntoView({ block: "nearest" });
      }
    } catch (error) {
      if (!(error instanceof Unreachable)) throw error;
      said.textContent = say(error.status === 401 ? "signed_out" : "offline");
    } finally {
      element.removeAttribute("aria-busy");
    }
  });
  dialog.removeAttribute("aria-labelledby");
  show("form", element);
}

/**
 * One picture, large.
 * @param {HTMLAnchorElement} link
 */
export function view(link) {
  const small = /** @type {HTMLImageElement} */ (link.querySelector("img"));
  const box = make("div", "view");
  const image = new Image(small.width * 2, small.height * 2);
  image.src = link.href;
  image.alt = small.alt;
  const actions = make("div", "actions");
  const close = make("button", "button", say("close"));
  close.dataset.close = "";
  actions.append(make("span", "muted", `${say("seed")} ${link.dataset.seed ?? ""}`));
  const download = /** @type {HTMLAnchorElement} */ (make("a", "button", say("download")));
  download.href = link.dataset.download ?? link.href;
  download.download = "";
  const right = make("span", "actions-right");
  right.append(download, " ", close);
  actions.append(right);
  box.append(image, actions);
  dialog.removeAttribute("aria-labelledby");
  dialog.setAttribute("aria-label", small.alt);
  show("viewer", box);
  close.focus();
}

/**
 * A whole card (from the history).
 * @param {string} markup
 */
export function card(markup) {
  const close = make("button", "button", say("close"));
  close.dataset.close = "";
  const actions = make("div", "actions end");
  actions.append(close);
  dialog.removeAttribute("aria-labelledby");
  show("wide", build(markup), actions);
}
