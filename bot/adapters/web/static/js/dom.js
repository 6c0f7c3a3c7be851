// @ts-check
/** Small words for the page: find, build, say. */

/** @type {Record<string, string>} */
const WORDS = JSON.parse(document.getElementById("words")?.textContent ?? "{}");

/**
 * A sentence of the page in the visitor's language, its blanks filled.
 * @param {string} key
 * @param {Record<string, string | number>} [blanks]
 */
export function say(key, blanks = {}) {
  return (WORDS[key] ?? key).replace(/\{(\w+)\}/g, (_, name) => String(blanks[name] ?? ""));
}

/**
 * The element with an id that the page must have.
 * @param {string} id
 * @returns {any}
 */
export const byId = (id) => document.getElementById(id);

/**
 * The first element of server-made HTML. The server escapes everything in it.
 * @param {string} html
 * @returns {HTMLElement}
 */
export function build(html) {
  const template = document.createElement("template");
  template.innerHTML = html.trim();
  return /** @type {HTMLElement} */ (template.content.firstElementChild);
}

/**
 * An element with a class and a text.
 * @param {string} tag
 * @param {string} className
 * @param {string} [text]
 */
export function make(tag, className, text = "") {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text;
  return element;
}

/**
 * Tell people who listen instead of look; the same words twice are said twice.
 * @param {string} text
 */
export function announce(text) {
  const status = byId("status");
  status.textContent = "";
  requestAnimationFrame(() => (status.textContent = text));
}

/**
 * A passing message at the top of the page.
 * @param {HTMLElement} message
 * @param {number} [milliseconds] how long it stays; 0 until dismissed
 */
export function toast(message, milliseconds = 6000) {
  byId("toasts").replaceChildren(message);
  if (milliseconds) setTimeout(() => message.remove(), milliseconds);
}

/**
 * A message made here, not by the server.
 * @param {string} text
 * @param {string} [tone]
 */
export function note(text, tone = "info") {
  const message = make("div", `toast tone-${tone}`);
  message.append(make("div", "toast-words", text));
  return message;
}
