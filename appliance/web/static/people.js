// People, for administrators: who may come in, as what, and how they get back in. Never what they have transcribed.

import * as api from "./api.js";
import { confirmed } from "./confirm.js";
import { askDialog, confirmDialog, showDialog } from "./dialogs.js";
import { el } from "./dom.js";
import { action, choice, onDay, panel, row, rows } from "./panels.js";
import { person } from "./session.js";

const PEOPLE = "/api/v1/people";
const ROLES = [
  ["member", "Member"],
  ["admin", "Administrator"],
];

export class People {
  constructor(root) {
    this.root = root;
  }

  async show() {
    const { results } = await api.get(PEOPLE);
    this.root.replaceChildren(
      el("h1", {}, "People"),
      panel(
        "Who may come in",
        rows(results.map((each) => this.#row(each))),
        action("Invite somebody", () => this.#invite(), "primary"),
      ),
    );
  }

  #row(each) {
    const me = each.id === person()?.id;
    const factor = each.has_second_factor ? " · second factor" : "";
    const states = { invited: "invited, has not come in yet", disabled: "disabled", active: `last seen ${onDay(each.last_sign_in_at)}` };
    const name = each.name || each.email;
    return row(me ? `${name} (you)` : name, `${each.email} · ${states[each.state]}${factor}`, ...this.#actions(each, me));
  }

  #actions(each, me) {
    if (each.state === "invited") {
      return [
        action("New link", () => this.#sendLink(() => api.post("/api/v1/invitations", { email: each.email }))),
        action("Withdraw", () => this.#change(() => api.erase(`/api/v1/invitations/${each.id}`))),
      ];
    }
    const role = choice(ROLES, each.role, (value) => this.#change(() => api.patch(`${PEOPLE}/${each.id}`, { role: value })));
    role.setAttribute("aria-label", `Role of ${each.name}`);
    if (me) return [role];
    const next = each.state === "active" ? ["Disable", "disabled"] : ["Enable", "active"];
    return [
      role,
      each.has_password ? action("Password link", () => this.#sendLink(() => api.post(`${PEOPLE}/${each.id}/password-link`, {}), " Once it is used, their API keys have ended.")) : null,
      each.has_second_factor ? action("Remove second factor", () => this.#change(() => api.erase(`${PEOPLE}/${each.id}/second-factor`))) : null,
      action(next[0], () => this.#change(() => api.patch(`${PEOPLE}/${each.id}`, { state: next[1] }))),
      action("Erase", () => this.#erase(each)),
    ];
  }

  /** Makes a change, and shows how things are now, whether it was done or refused. */
  async #change(call) {
    const problem = await confirmed(call).then(
      () => null,
      (error) => error,
    );
    await this.show();
    if (problem && problem.name !== "AbortError") this.root.append(el("p", { class: "problem", role: "alert" }, `${problem.message} ${problem.hint ?? ""}`));
  }

  async #invite() {
    const email = await askDialog({ title: "Invite somebody", label: "E-mail address, to sign in with", type: "email", action: "Make a link" });
    if (email) await this.#sendLink(() => api.post("/api/v1/invitations", { email }));
  }

  async #sendLink(make, more = "") {
    const made = await confirmed(make);
    const text = `Give this link to ${made.person.email} yourself: no mail is sent. It works once, until ${onDay(made.expires_at)}.${more}`;
    await showDialog({ title: "One-time link", text, secret: new URL(made.path, location.origin).href });
    await this.show();
  }

  async #erase(each) {
    const text = "The account and every transcript of it are erased for good, at once. What belongs to a team stays.";
    if (await confirmDialog({ title: `Erase ${each.name}?`, text, action: "Erase for good", cancel: "Keep" })) {
      await this.#change(() => api.erase(`${PEOPLE}/${each.id}`));
    }
  }
}
