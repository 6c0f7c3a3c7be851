// @ts-check
/** Asking the server: JSON answers with ready pieces of HTML. */

/**
 * What the server answers to a post and for a card.
 * @typedef {object} Answer
 * @property {boolean} ok
 * @property {string | null} [code]
 * @property {string | null} [job]
 * @property {string | null} [status]
 * @property {string | null} [card]
 * @property {string | null} [toast]
 * @property {string | null} [form]
 * @property {boolean} [forgotten] the member was forgotten: what this browser remembers goes too
 */

const JSON_ONLY = { Accept: "application/json" };

/** The server could not be asked, or did not answer as ours does. */
export class Unreachable extends Error {
  /** @param {number} status 0 when there was no answer at all */
  constructor(status) {
    super(`no answer (${status})`);
    this.status = status;
  }
}

/**
 * @param {string} url
 * @param {RequestInit} [options]
 * @returns {Promise<any>}
 */
async function ask(url, options = {}) {
  let response;
  try {
    response = await fetch(url, { credentials: "same-origin", ...options });
  } catch {
    throw new Unreachable(0);
  }
  if (!(response.headers.get("content-type") ?? "").includes("application/json")) {
    throw new Unreachable(response.status);
  }
  return response.json();
}

/**
 * Send fields; files go along when there are any.
 * @param {string} url
 * @param {Record<string, string> | FormData} fields
 * @returns {Promise<Answer>}
 */
export function post(url, fields) {
  const pairs = fields instanceof FormData ? [...fields.entries()] : Object.entries(fields);
  const given = pairs.filter(([, value]) => !(value instanceof File) || value.size > 0);
  const files = given.some(([, value]) => value instanceof File);
  const body = files ? new FormData() : new URLSearchParams();
  for (const [name, value] of given) {
    body.append(name, /** @type {any} */ (value instanceof File ? value : String(value)));
  }
  return ask(url, { method: "POST", headers: JSON_ONLY, body });
}

/**
 * @param {string} url
 * @returns {Promise<any>}
 */
export const get = (url) => ask(url, { headers: JSON_ONLY });

/**
 * A piece of HTML.
 * @param {string} url
 */
export async function html(url) {
  const response = await fetch(url, { credentials: "same-origin" });
  if (!response.ok) throw new Unreachable(response.status);
  return response.text();
}

/** A key that makes a repeated post the same invocation. */
export function freshKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
