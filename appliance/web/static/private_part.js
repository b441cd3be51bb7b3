// What a private transcript shows beside its text: the question for its password, or what can be done while it is open.

import { announce, el, setText } from "./dom.js";
import { isMade, openMade, unlock } from "./private.js";
import { problemWith, strength } from "./private_form.js";

export class PrivatePart {
  #opened = null;
  #left = false;

  /** @param onChange called when it was opened, locked or changed @param onProblem with an error and what shows it here */
  constructor(element, slug, { onChange, onProblem }) {
    Object.assign(this, { element, slug, onChange, onProblem });
    window.addEventListener("pagehide", () => this.#forget(), { once: true });
  }

  get isOpen() {
    return this.#opened !== null;
  }

  /** The record with what is known of its text here. */
  fill(record) {
    this.#render(record);
    return this.isOpen ? { ...record, ...this.#opened.record } : record;
  }

  /** Opens without a question what this tab has made itself. */
  async begin() {
    if (this.begun) return;
    this.begun = true;
    this.beginning = isMade(this.slug);
    try {
      const opened = await openMade(this.slug);
      this.beginning = false;
      await this.#take(opened);
    } catch (error) {
      this.beginning = false;
      this.onProblem(error, () => this.#complain(`${error.message} ${error.hint ?? ""}`));
    }
  }

  edit(changes) {
    return this.#opened.edit(changes);
  }

  save(format) {
    const { text, mediaType, filename } = this.#opened.export(format);
    const address = URL.createObjectURL(new Blob([text], { type: mediaType }));
    el("a", { href: address, download: filename }).click();
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
  }

  close() {
    this.#left = true;
    this.#forget();
  }

  #forget() {
    this.#opened?.close();
    this.#opened = null;
  }

  #lock() {
    this.#forget();
    announce("Locked");
    this.onChange();
  }

  async #take(opened) {
    if (!opened) return;
    if (this.#left) return opened.close();
    this.#opened = opened;
    announce("Unlocked");
    this.onChange();
  }

  // --- what is seen ---

  #render(record) {
    const running = record.status === "queued" || record.status === "processing";
    this.element.hidden = record.status !== "completed" && !running;
    if (running || this.beginning) return this.#renderWaiting();
    return this.isOpen ? this.#renderOpen() : this.#renderLocked();
  }

  #renderWaiting() {
    const sentence = "Nothing is shown before it is encrypted here, in your browser: please leave this page open.";
    this.element.replaceChildren(el("p", {}, el("strong", {}, "Private. "), sentence));
  }

  #renderLocked() {
    const password = el("input", { type: "password", id: "unlock-password", autocomplete: "off", required: true, "aria-describedby": "unlock-problem" });
    const button = el("button", { type: "submit", class: "primary" }, "Unlock");
    this.problem = el("p", { class: "problem", id: "unlock-problem", role: "alert" });
    const form = el("form", { class: "unlock", novalidate: true }, el("label", { for: "unlock-password" }, "Password"), password, button, this.problem);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#unlock(password, button);
    });
    this.element.replaceChildren(
      el("h2", {}, "This transcript is private"),
      el("p", {}, "The appliance stores it encrypted and cannot read it. Your password opens it here, in this page only."),
      form,
    );
  }

  async #unlock(input, button) {
    const password = input.value;
    input.value = "";
    if (!password) return this.#complain("Type the password first.");
    button.disabled = true;
    setText(button, "Unlocking…");
    try {
      await this.#take(await unlock(this.slug, password));
    } catch (error) {
      this.onProblem(error, () => this.#complain(`${error.message} ${error.hint ?? ""}`));
      input.focus();
    }
    button.disabled = false;
    setText(button, "Unlock");
  }

  #complain(sentence) {
    if (!this.problem?.isConnected) this.#renderLocked();
    setText(this.problem, sentence);
  }

  #renderOpen() {
    const button = (name, onclick) => el("button", { type: "button", class: "quiet small", onclick }, name);
    this.element.replaceChildren(
      el(
        "div",
        { class: "private-open" },
        el("p", {}, el("strong", {}, "Private, and open in this page only. "), "Search, sharing and export by the appliance do not exist for it."),
        el(
          "div",
          { class: "private-actions" },
          button("Correct text", () => this.#correct()),
          button("Change password", () => this.#changePassword()),
          button("Lock", () => this.#lock()),
        ),
      ),
    );
  }

  // --- what can be done ---

  async #correct() {
    const before = this.#opened.record.segments.map((segment) => segment.text);
    const area = el("textarea", { id: "private-texts", rows: "14", spellcheck: "true" });
    area.value = before.join("\n");
    await ask("Correct the text", [el("label", { for: "private-texts" }, "One line for each passage"), area], "Save", async () => {
      const texts = area.value.split("\n").map((text) => text.trim());
      if (texts.length !== before.length) return `There must be ${before.length} lines, as before; now there are ${texts.length}.`;
      await this.edit({ texts });
      return "";
    });
    this.onChange();
  }

  async #changePassword() {
    const [old, fresh, again] = ["old", "new", "again"].map((name) => el("input", { type: "password", id: `private-${name}-password`, autocomplete: "off" }));
    const hint = el("p", { class: "fine-print" }, strength(""));
    fresh.addEventListener("input", () => setText(hint, strength(fresh.value)));
    const field = (name, input) => [el("label", { for: input.id }, name), input];
    const body = [...field("Password now", old), ...field("New password", fresh), hint, ...field("New password again", again)];
    const done = await ask("Change the password", body, "Encrypt again", async () => {
      const problem = problemWith(fresh.value, again.value);
      if (!problem) await this.#opened.changePassword(old.value, fresh.value);
      return problem;
    });
    if (done) announce("Encrypted with the new password");
  }
}

/** A dialog that stays open, with a sentence, until `work` finds nothing to complain of. */
function ask(title, body, action, work) {
  const problem = el("p", { class: "problem", role: "alert" });
  const dialog = el("dialog", { class: "dialog private-dialog", "aria-labelledby": "private-dialog-title" });
  const button = el("button", { type: "submit", class: "primary" }, action);
  const cancel = el("button", { type: "button", class: "quiet", onclick: () => dialog.close("") }, "Cancel");
  const form = el("form", {}, el("h2", { id: "private-dialog-title" }, title), ...body, problem, el("div", { class: "dialog-actions" }, cancel, button));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    const sentence = await work().catch((error) => `${error.message} ${error.hint ?? ""}`);
    button.disabled = false;
    setText(problem, sentence);
    if (!sentence) dialog.close("done");
  });
  dialog.append(form);
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "done");
    });
  });
}
