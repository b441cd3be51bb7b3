// The door: signing in, the first administrator, an invitation, a new password, or an API key. Nothing else is shown until
// one of them has opened it.

import * as api from "./api.js";
import { el, setText } from "./dom.js";
import { forgetKey, keepKey } from "./key.js";
import { keyInUse, setupNeeded } from "./session.js";

export const UNKNOWN_KEY = "The appliance does not know this key. It may have been revoked.";
const LINK = /^#(setup|invitation|password)\/([\w-]+)$/;
const PASSWORD = { type: "password", required: true, minlength: "12", maxlength: "256" };
const OPENS_WITH = { setup: "/api/v1/setup", invitation: "/api/v1/invitations/accept", password: "/api/v1/password" };

/** Takes a one-time link over from the address and removes it there at once, before it can be seen or kept. */
export function takeLinkFromAddress() {
  const match = LINK.exec(location.hash);
  if (!match) return null;
  history.replaceState(null, "", location.pathname + location.search);
  return { purpose: match[1], token: match[2] };
}

const SIGN_IN_ERRORS = {
  sign_in_source_down: "Your organisation’s sign-in does not answer at the moment. Try again later.",
  sign_in_not_trusted: "The answer of your organisation’s sign-in could not be trusted. Tell whoever runs this appliance.",
  sign_in_refused: "Your organisation’s sign-in refused. Try again.",
  not_in_allowed_group: "Your account may not use this appliance. Ask whoever runs it.",
  account_disabled: "Your account here is disabled. Ask an administrator.",
};

/** What went wrong with a sign-in elsewhere, if the address says so; taken away from there. */
export function takeErrorFromAddress() {
  const code = /^#sign_in_error=(\w+)$/.exec(location.hash)?.[1];
  if (!code) return "";
  history.replaceState(null, "", location.pathname + location.search);
  return SIGN_IN_ERRORS[code] ?? "Signing in did not work. Try again, or ask an administrator.";
}

export class Door {
  /** @param onOpened called when somebody has come in */
  constructor(root, { onOpened }) {
    this.root = root;
    this.onOpened = () => {
      root.replaceChildren(); // with the password in it
      return onOpened();
    };
  }

  async show(problem = "", link = null) {
    if (link) return this.#showLink(link);
    if (setupNeeded()) return this.#showSetupHint();
    return this.#showSignIn(problem);
  }

  // --- signing in ---

  async #showSignIn(problem) {
    const name = field("Name or e-mail address", { type: "text", autocomplete: "username", required: true });
    const password = field("Password", { type: "password", autocomplete: "current-password", required: true });
    const code = field("Code of your second factor", { type: "text", autocomplete: "one-time-code", inputmode: "numeric" });
    code.node.hidden = true;
    const form = this.#form("Sign in", [name, password, code], async () => {
      try {
        await this.#signIn(name.value(), password.value(), code.value());
      } catch (error) {
        if (error.code !== "second_factor_needed") throw error;
        code.node.hidden = false;
        code.input.focus();
      }
    });
    this.#fill("Sign in", null, form, problem);
    await this.#offerProviders(form);
  }

  async #signIn(email, password, code) {
    const directory = this.root.querySelector("#use-directory")?.checked;
    if (directory) await api.enter("/api/v1/session/ldap", { name: email, password, ...(code && { code }) });
    else await api.enter("/api/v1/session", { email, password, ...(code && { code }) });
    this.onOpened();
  }

  /** What else opens the door here: the site's own sign-in, its directory, and always an API key. */
  async #offerProviders(form) {
    const { oidc, ldap } = await api.get("/api/v1/session/providers").catch(() => ({}));
    if (ldap) form.querySelector(".problem").before(directoryChoice(ldap.label));
    form.after(
      el(
        "div",
        { class: "other-ways" },
        oidc && el("a", { class: "button", href: oidc.start_url }, `Sign in with ${oidc.label}`),
        el("button", { type: "button", class: "quiet", onclick: () => this.showKey() }, "Use an API key instead"),
      ),
      el("p", { class: "fine-print" }, "Does your browser warn of this page? ", el("a", { href: "/trust" }, "How to trust it"), "."),
    );
  }

  // --- an API key ---

  showKey(problem = "") {
    const key = field("API key", { type: "password", autocomplete: "off", spellcheck: "false", placeholder: "stt_…", required: true });
    const form = this.#form("Open", [key], async () => {
      await this.#openWithKey(key.value());
    });
    const hint = el("p", { class: "fine-print" }, "Kept in this tab only, and forgotten when you close it.");
    const back = el("div", { class: "other-ways" }, el("button", { type: "button", class: "quiet", onclick: () => this.show() }, "Sign in with a password"));
    this.#fill("Open with a key", "For programs, and for whoever runs this appliance: it is made with “appliance keys create”.", form, problem);
    form.append(hint);
    form.after(back);
  }

  /** Asks before the key of a link opens anything: whoever made the link would own what is sent with it. */
  async offerKey(key) {
    const known = await api.lookAtKey(key).catch((error) => error);
    if (known instanceof Error) return this.show(`${known.message} ${known.hint}`);
    if (!known) return this.showKey(UNKNOWN_KEY);
    const form = this.#form("Continue", [], () => this.#openWithKey(key));
    const title = el("h1", { id: "door-title", tabindex: "-1" }, "Open with this key?");
    this.root.replaceChildren(
      title,
      el("p", {}, "This link opens the appliance with an API key:"),
      el("p", { class: "offered-key" }, el("strong", {}, known.name), ...ownerOf(known)),
      el("p", {}, `${belongingOf(known)} Continue only if you made this link yourself or expected it.`),
      form,
      el("div", { class: "other-ways" }, el("button", { type: "button", class: "quiet", onclick: () => this.show() }, "Sign in instead")),
    );
    title.focus(); // not the button: a stray Enter must not answer
    return undefined;
  }

  async #openWithKey(key) {
    keepKey(key);
    try {
      await api.readSession();
      if (!keyInUse()) throw new Error(UNKNOWN_KEY);
    } catch (error) {
      forgetKey();
      throw error;
    }
    this.onOpened();
  }

  // --- one-time links ---

  #showSetupHint() {
    const text = el(
      "p",
      {},
      "This appliance has no administrator yet. The link that makes one was printed when it started; on its own terminal a new one comes from",
    );
    this.root.replaceChildren(
      el("h1", { id: "door-title" }, "Almost ready"),
      text,
      el("pre", {}, el("code", {}, "appliance people setup-link")),
      el("div", { class: "other-ways" }, el("button", { type: "button", class: "quiet", onclick: () => this.showKey() }, "Use an API key instead")),
    );
  }

  async #showLink({ purpose, token }) {
    let about;
    try {
      about = await api.post("/api/v1/links/look", { token });
    } catch (error) {
      return this.#showSignIn(`${error.message} ${error.hint}`);
    }
    const name = purpose !== "password" && field("Your name", { type: "text", autocomplete: "name", required: true, value: about.name ?? "" });
    const email = purpose === "setup" && field("E-mail address, to sign in with", { type: "email", autocomplete: "username", required: true });
    const password = field("Password, at least 12 characters", { ...PASSWORD, autocomplete: "new-password" });
    const again = field("The same password once more", { ...PASSWORD, autocomplete: "new-password" });
    const form = this.#form(about.purpose === "password" ? "Set password" : "Come in", [name, email, password, again].filter(Boolean), async () => {
      if (password.value() !== again.value()) throw new Error("The two passwords differ.");
      const facts = { token, password: password.value() };
      if (name) facts.name = name.value();
      if (email) facts.email = email.value();
      await this.#open(purpose, facts);
    });
    return this.#fill(...titleOf(about), form, "");
  }

  async #open(purpose, facts) {
    if (purpose === "password") {
      await api.post(OPENS_WITH.password, facts);
      await this.#showSignIn("The new password is set, and the API keys of this account have ended. Sign in with it.");
    } else {
      await api.enter(OPENS_WITH[purpose], facts);
      this.onOpened();
    }
  }

  // --- putting it on the page ---

  #form(action, fields, submit) {
    const problem = el("p", { class: "problem", role: "alert" });
    const button = el("button", { class: "primary", type: "submit" }, action);
    const form = el("form", { novalidate: true }, ...fields.map((each) => each.node), problem, button);
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const wrong = [...form.elements].find((each) => each.willValidate && !each.validity.valid && !each.closest("[hidden]"));
      if (wrong) {
        setText(problem, complaint(wrong));
        wrong.focus();
        return;
      }
      button.disabled = true;
      setText(problem, "");
      try {
        await submit();
      } catch (error) {
        setText(problem, `${error.message} ${error.hint ?? ""}`.trim());
      }
      button.disabled = false;
    });
    return form;
  }

  #fill(title, lead, form, problem) {
    this.root.replaceChildren(...[el("h1", { id: "door-title" }, title), lead && el("p", {}, lead), form].filter(Boolean));
    setText(form.querySelector(".problem"), problem);
    form.querySelector("input").focus();
  }
}

let fields = 0;

/** A label and its input: `{node, input, value()}`. */
export function field(label, attributes) {
  const id = `field-${(fields += 1)}`;
  const input = el("input", { id, ...attributes });
  return { node: el("div", { class: "door-field" }, el("label", { for: id }, label), input), input, value: () => input.value };
}

function complaint(input) {
  const label = input.labels[0]?.textContent ?? "This";
  return input.validity.tooShort || (input.minLength > 0 && input.value) ? `${label}.` : `${label}: please fill this in.`;
}

function directoryChoice(name) {
  return el("label", { class: "check" }, el("input", { type: "checkbox", id: "use-directory" }), `This is my account in ${name}`);
}

/** Whom a name alone could feign, the address tells. */
const ownerOf = ({ owner }) => (owner ? [el("span", {}, `of ${owner.name} (${owner.email})`)] : []);

const belongingOf = ({ owner }) =>
  owner ? `Recordings you add belong to ${owner.name}, who can read them.` : "It is nobody’s own: whoever has it can read the recordings you add.";

function titleOf({ purpose, email }) {
  if (purpose === "setup") return ["Welcome", "You will be the first administrator: you invite the others, and look after this appliance."];
  if (purpose === "invitation") return ["Welcome", `You are invited as ${email}. Choose a password, and come in.`];
  return ["A new password", `For ${email}. Everybody who was signed in with the old one is signed out.`];
}
