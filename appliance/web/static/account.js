// My account: name and password, the second factor, where I am signed in, my API keys, and how long my transcripts are kept.

import * as api from "./api.js";
import { confirmed } from "./confirm.js";
import { askDialog, confirmDialog, showDialog, tellDialog } from "./dialogs.js";
import { el } from "./dom.js";
import { action, atTime, onDay, panel, row, rows } from "./panels.js";
import { adopt } from "./session.js";

const ME = "/api/v1/me";
const RETENTION = "/api/v1/retention";
const TRANSCRIPTS = "/api/v1/transcripts/";

export class Account {
  constructor(root) {
    this.root = root;
  }

  async show() {
    const [me, sessions, keys, retention] = await Promise.all([api.get(ME), api.get(`${ME}/sessions`), api.get(`${ME}/keys`), api.get(RETENTION)]);
    this.root.replaceChildren(
      el("h1", {}, "Your account"),
      this.#profile(me),
      this.#secondFactor(me),
      this.#sessions(sessions.results),
      this.#keys(keys.results),
      this.#transcripts(me, retention),
    );
  }

  #profile(me) {
    const about = `${me.email} · ${me.role === "admin" ? "administrator" : "member"}`;
    const rename = action("Rename", async () => {
      const name = await askDialog({ title: "Your name", label: "Name", value: me.name });
      if (name) await api.patch(ME, { name }).then(() => this.show());
    });
    const password = me.has_password ? action("Change password", () => this.#changePassword()) : null;
    return panel("You", rows([row(me.name, about, rename, password)]));
  }

  async #changePassword() {
    const current = await askDialog({ title: "Change password", label: "Your present password", type: "password", autocomplete: "current-password", action: "Next" });
    if (!current) return;
    const fresh = await askDialog({ title: "Change password", label: "New password, at least 12 characters", type: "password", autocomplete: "new-password" });
    if (!fresh) return;
    await api.enter(`${ME}/password`, { current, new: fresh });
    const { results } = await api.get(`${ME}/keys`);
    await this.show();
    if (results.length) await tellDialog({ title: "Your password is changed", text: `${goOn(results.length)} Revoke below what you do not trust any more.` });
  }

  // --- second factor ---

  #secondFactor(me) {
    if (!me.has_password) return panel("Second factor", el("p", { class: "note" }, "Your sign-in is looked after by your organisation."));
    const off = "A code from an app on your telephone, beside the password.";
    const line = me.has_second_factor
      ? row("On", "Signing in asks for a code from your app.", action("New recovery codes", () => this.#newCodes()), action("Switch off", () => this.#switchOff()))
      : row("Off", off, action("Switch on", () => this.#enrol(), "primary"));
    return panel("Second factor", rows([line]));
  }

  async #enrol() {
    const { secret, uri, qr_svg } = await confirmed(() => api.post(`${ME}/second-factor`, {}));
    const input = el("input", { id: "factor-code", type: "text", inputmode: "numeric", autocomplete: "one-time-code", maxlength: "6" });
    const confirm = action("Switch on", async () => {
      const answer = await confirmed(() => api.post(`${ME}/second-factor/confirm`, { code: input.value.trim() }));
      adopt(answer.session);
      await this.#showCodes(answer.recovery_codes);
      await this.show();
    }, "primary");
    const steps = panel(
      "Second factor",
      el("p", {}, "Scan this with an authenticator app, or ", el("a", { href: uri }, "open it here"), ", then enter the code that the app shows."),
      el("img", { class: "qr", alt: "Code to scan", src: `data:image/svg+xml,${encodeURIComponent(qr_svg)}` }),
      el("p", { class: "note" }, `Without a camera: ${secret}`),
      el("label", { for: "factor-code" }, "Code"),
      el("div", { class: "inline" }, input, confirm, action("Not now", () => this.show())),
    );
    this.root.replaceChildren(el("h1", {}, "Your account"), steps);
    input.focus();
  }

  async #newCodes() {
    const answer = await this.#withCode({ title: "New recovery codes", action: "Make new ones" }, (code) => api.post(`${ME}/second-factor/recovery-codes`, { code }));
    if (!answer) return;
    await this.#showCodes(answer.recovery_codes);
  }

  #showCodes(codes) {
    const text = "Each of these opens your account once, when the telephone is lost. Print them or keep them in a safe place; they are shown only now.";
    return showDialog({ title: "Recovery codes", text, secret: codes.join("  ") });
  }

  async #switchOff() {
    const question = { title: "Switch the second factor off?", text: "Your password alone will open your account.", action: "Switch off" };
    const session = await this.#withCode(question, (code) => api.post(`${ME}/second-factor/remove`, { code }));
    if (!session) return;
    adopt(session);
    await this.show();
  }

  /** Makes the call with a code; asks again while it is wrong. Null when it is not wanted any more. */
  async #withCode(question, call) {
    for (let label = "A code from your app, or a recovery code"; ; label = "That code does not work, or was used before. Try the next one") {
      const code = await askDialog({ ...question, label, autocomplete: "one-time-code" });
      if (!code) return null;
      try {
        return await confirmed(() => call(code));
      } catch (error) {
        if (error.code !== "wrong_credentials") throw error;
      }
    }
  }

  // --- sessions ---

  #sessions(entries) {
    const lines = entries.map((each) =>
      row(
        each.current ? "This browser" : shortAgent(each.user_agent),
        `${each.address} · last seen ${atTime(each.last_seen_at)}`,
        each.current ? null : action("Sign out", () => api.erase(`${ME}/sessions/${each.id}`).then(() => this.show())),
      ),
    );
    const others = entries.length > 1 ? action("Sign out everywhere else", () => api.erase(`${ME}/sessions`).then(() => this.show())) : null;
    return panel("Where you are signed in", rows(lines), ...(others ? [others] : []));
  }

  // --- keys ---

  #keys(keys) {
    const lines = keys.map((key) =>
      row(
        key.name,
        `${key.prefix}… · ${key.scopes.join(", ")} · last used ${onDay(key.last_used_at)} · ${key.expires_at ? `until ${onDay(key.expires_at)}` : "does not expire"}`,
        action("Revoke", () => this.#revoke(key)),
      ),
    );
    return panel(
      "API keys",
      el("p", { class: "note" }, "For programs that work in your name. What they send is yours."),
      rows(lines, "You have no key."),
      action("New key", () => this.#newKey()),
    );
  }

  async #newKey() {
    const name = await askDialog({ title: "New API key", label: "What is it for?", action: "Create" });
    if (!name) return;
    const { secret } = await confirmed(() => api.post(`${ME}/keys`, { name }));
    await showDialog({ title: "Your new key", text: "Copy it now: it is shown only once.", secret });
    await this.show();
  }

  async #revoke(key) {
    const text = "Programs that use it will be refused from now on.";
    if (!(await confirmDialog({ title: `Revoke “${key.name}”?`, text, action: "Revoke" }))) return;
    await api.erase(`${ME}/keys/${key.id}`);
    await this.show();
  }

  // --- transcripts ---

  #transcripts(me, { site_days, results }) {
    const own = results.find((rule) => rule.owner === me.id);
    const kept = own ? keptFor(own.days) : `${keptFor(site_days)}, as everybody’s here.`;
    const change = action("Change", () => this.#changeRule(me, own, site_days));
    const follow = own ? action("As everybody’s", () => this.#keepFor(me, null, site_days)) : null;
    return panel(
      "Your transcripts",
      rows([
        row("How long they are kept", kept, change, follow),
        row("All of them at once", "Erased for good, not put aside. What belongs to a team stays.", action("Erase all my transcripts", () => this.#eraseAll())),
      ]),
    );
  }

  async #changeRule(me, own, siteDays) {
    const answer = await askDialog({ title: "How long are they kept?", label: "Days until a transcript is erased; 0 keeps them", value: String(own?.days ?? siteDays) });
    if (answer === null) return;
    if (!/^\d+$/.test(answer)) throw new Error("Please enter a number of days.");
    await this.#keepFor(me, Number(answer), siteDays);
  }

  async #keepFor(me, days, siteDays) {
    const coming = days ?? siteDays;
    const text = `What is older than ${inDays(coming)} is erased for good within minutes, and nobody can bring it back.`;
    if (coming && !(await confirmDialog({ title: `Keep them for ${inDays(coming)}?`, text, action: "Keep them so long", cancel: "Leave it" }))) return;
    await api.put(`${RETENTION}/${me.id}`, { days });
    await this.show();
  }

  async #eraseAll() {
    const { count } = await api.get(`${TRANSCRIPTS}?workspace=none&limit=1`);
    if (!count) throw new Error("You have none.");
    const many = count === 1 ? "your only transcript" : `all ${count} transcripts of yours`;
    const text = `That is ${many}, with what is being worked on. They are erased for good; nobody can bring them back.`;
    if (!(await confirmDialog({ title: "Erase all your transcripts?", text, action: "Erase them", cancel: "Keep them" }))) return;
    try {
      await api.erase(`${TRANSCRIPTS}?confirm=${count}`);
    } catch (error) {
      throw error.code === "not_confirmed" ? new Error("Their number has changed meanwhile, and nothing was erased. Please try again.") : error;
    }
    await this.show();
  }
}

const goOn = (keys) => (keys === 1 ? "One API key goes on working." : `${keys} API keys go on working.`);
const inDays = (days) => (days === 1 ? "one day" : `${days} days`);
const keptFor = (days) => (days ? `Erased after ${inDays(days)}` : "Until you erase them");

/** "Firefox on Linux", as well as it can be told. */
function shortAgent(agent) {
  const browser = /(Firefox|Edg|Chrome|Safari)/.exec(agent ?? "")?.[1]?.replace("Edg", "Edge");
  const system = /(Windows|Android|iPhone|iPad|Mac OS X|Linux)/.exec(agent ?? "")?.[1]?.replace("Mac OS X", "macOS");
  return browser ? `${browser}${system ? ` on ${system}` : ""}` : "Another browser";
}
