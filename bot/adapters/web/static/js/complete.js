// @ts-check
/** What could come next in the composer. Pure: text and caret in, choices out. */

/**
 * @typedef {object} Option
 * @property {string} name
 * @property {string} kind
 * @property {string} help
 * @property {boolean} required
 * @property {string} default
 * @property {number | null} minimum
 * @property {number | null} maximum
 * @property {string[]} choices
 *
 * @typedef {{ name: string, help: string, options: Option[] }} Command
 *
 * @typedef {object} Choice
 * @property {string} label what the list shows
 * @property {string} help
 * @property {string} hint
 * @property {string} insert what replaces the text from `from` to `to`
 *
 * @typedef {object} Offer
 * @property {number} from
 * @property {number} to
 * @property {Choice[]} choices
 * @property {boolean} eager whether the first choice is chosen at once
 * @property {string} about a line about the command
 */

const COLON = /[:：]/;

/**
 * @param {string} text
 * @param {number} caret
 * @param {Command[]} catalog
 * @param {(key: string, blanks?: Record<string, string | number>) => string} say
 * @returns {Offer | null}
 */
export function offer(text, caret, catalog, say) {
  const start = text.search(/\S/);
  if (start < 0 || !"/／".includes(text[start]) || caret <= start) return null;
  const word = /^[/／](\S*)/.exec(text.slice(start)) ?? ["", ""];
  const end = start + word[0].length;
  if (caret <= end) return commands(text.slice(start + 1, caret).toLowerCase(), start, end, catalog);
  const command = catalog.find((one) => one.name === word[1].toLowerCase());
  return command ? options(text, caret, end, command, say) : null;
}

/**
 * @param {string} typed
 * @param {number} from
 * @param {number} to
 * @param {Command[]} catalog
 * @returns {Offer | null}
 */
function commands(typed, from, to, catalog) {
  const found = catalog.filter((one) => one.name.startsWith(typed));
  if (!found.length) return null;
  const choices = found.map((one) => ({
    label: `/${one.name}`, help: one.help, hint: "", insert: `/${one.name} `,
  }));
  // What needs nothing more is just sent.
  const whole = found.find((one) => one.name === typed && !one.options.some((o) => o.required));
  return { from, to, choices, eager: !whole, about: "" };
}

/**
 * @param {string} text
 * @param {number} caret
 * @param {number} end where the command's name ends
 * @param {Command} command
 * @param {(key: string, blanks?: Record<string, string | number>) => string} say
 * @returns {Offer | null}
 */
function options(text, caret, end, command, say) {
  const from = Math.max(end + 1, text.slice(0, caret).search(/\S*$/));
  const typed = text.slice(from, caret);
  if ((text.slice(end, from).match(/["“”]/g) ?? []).length % 2) return null; // inside quotes
  const [name, value] = split(typed);
  const option = command.options.find((one) => one.name === name.toLowerCase());
  if (value !== null) {
    return option ? values(option, value, from + name.length + 1, caret, text, say) : null;
  }
  const used = new Set([...text.matchAll(/(?<!\S)(\w+)[:：]/g)].map((m) => m[1].toLowerCase()));
  const main = command.options.find((one) => one.required) ?? command.options[0];
  // Bare words are the main option's; where it is a choice, they are offered as they are.
  const picks = text.slice(end, from).trim() ? [] : (main?.choices ?? [])
    .filter((choice) => choice.toLowerCase().startsWith(typed.toLowerCase()) && choice !== typed)
    .map((choice) => ({ label: choice, help: "", hint: "", insert: choice }));
  const found = command.options.filter(
    (one) => one !== main && !used.has(one.name) && one.name.startsWith(typed.toLowerCase()),
  );
  if (!found.length && !picks.length) return null;
  const choices = [...picks, ...found.map((one) => ({
    label: `${one.name}:`, help: one.help, hint: limits(one, say), insert: `${one.name}:`,
  }))];
  const bare = !text.slice(end).trim();
  if (typed === "" && !bare && text[caret - 1] !== " ") return null;
  return { from, to: caret, choices, eager: false, about: bare && main ? main.help : "" };
}

/** @param {string} typed @returns {[string, string | null]} */
function split(typed) {
  const at = typed.search(COLON);
  return at < 0 ? [typed, null] : [typed.slice(0, at), typed.slice(at + 1)];
}

/**
 * @param {Option} option
 * @param {string} value
 * @param {number} from
 * @param {number} to
 * @param {string} text
 * @param {(key: string, blanks?: Record<string, string | number>) => string} say
 * @returns {Offer | null}
 */
function values(option, value, from, to, text, say) {
  const about = [option.help, limits(option, say)].filter(Boolean).join(" · ");
  const found = option.choices.filter((choice) => choice.toLowerCase().startsWith(value.toLowerCase()));
  const exact = found.length === 1 && found[0] === value;
  if (exact || !found.length) return value === "" ? { from, to, choices: [], eager: false, about } : null;
  const space = text[to] === " " ? "" : " ";
  const choices = found.map((choice) => ({
    label: choice,
    help: "",
    hint: choice === option.default ? say("default", { value: "" }).trim() : "",
    insert: (/\s/.test(choice) ? `"${choice}"` : choice) + space,
  }));
  return { from, to, choices, eager: true, about };
}

/**
 * @param {Option} option
 * @param {(key: string, blanks?: Record<string, string | number>) => string} say
 */
function limits(option, say) {
  const parts = [];
  if (option.minimum !== null && option.maximum !== null && option.maximum < 1e6) {
    parts.push(say("range", { low: option.minimum, high: option.maximum }));
  }
  if (option.default && option.kind !== "flag") parts.push(say("default", { value: option.default }));
  return parts.join(" · ");
}
