// The choice "Private" of the start page: password twice, how strong it is, and the warning that goes with it.

import { byId, setText } from "./dom.js";
import { isBusy, isPossible } from "./private.js";

const SHORTEST = 10;

export class PrivateForm {
  constructor() {
    this.choice = byId("private");
    this.choice.disabled = !isPossible();
    byId("private-impossible").hidden = isPossible();
    this.choice.addEventListener("change", () => this.#show());
    byId("private-password").addEventListener("input", (event) => setText(byId("private-strength"), strength(event.target.value)));
    window.addEventListener("beforeunload", (event) => isBusy() && event.preventDefault());
    this.#show();
  }

  #show() {
    byId("private-fields").hidden = !this.choice.checked;
    this.complain("");
  }

  complain(sentence) {
    setText(byId("private-problem"), sentence);
  }

  /** What was chosen now: null for an ordinary recording, false when something is missing and was said, else the choice. */
  read() {
    if (!this.choice.checked) return null;
    const [password, again] = [byId("private-password").value, byId("private-again").value];
    const problem = problemWith(password, again);
    this.complain(problem);
    if (problem) byId(password.length < SHORTEST ? "private-password" : "private-again").focus();
    return problem ? false : { password, hideName: byId("private-hide-name").checked };
  }

  /** The password leaves the page as soon as the key is made of it. */
  clear() {
    for (const id of ["private-password", "private-again"]) byId(id).value = "";
    setText(byId("private-strength"), strength(""));
  }
}

export function problemWith(password, again) {
  if (password.length < SHORTEST) return `Choose a password of at least ${SHORTEST} characters first.`;
  return password === again ? "" : "The two passwords are not the same.";
}

/** A hint, not a promise: length counts most, and repetition counts for nothing. */
export function strength(password) {
  if (!password) return `At least ${SHORTEST} characters; four or five unrelated words are easy to keep and hard to guess.`;
  const kinds = [/\p{Ll}/u, /\p{Lu}/u, /\p{N}/u, /[^\p{L}\p{N}]/u].filter((kind) => kind.test(password)).length;
  const score = new Set(password.toLowerCase()).size + Math.min(password.length, 40) / 2 + 2 * kinds;
  if (password.length < SHORTEST) return "Too short.";
  if (score < 20) return "Weak: somebody who copies the stored text could guess it.";
  return score < 27 ? "Fair. Longer is better." : "Strong.";
}
