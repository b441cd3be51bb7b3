// Who else reads a transcript: links for people without an account, and the team it belongs to.

import * as api from "./api.js";
import { showDialog } from "./dialogs.js";
import { el } from "./dom.js";
import { action, atTime, choice, row, rows } from "./panels.js";
import { person } from "./session.js";

const DAY_MS = 24 * 60 * 60 * 1000;
const LASTS = [
  ["1", "for a day"],
  ["7", "for a week"],
  ["30", "for a month"],
  ["", "until withdrawn"],
];
const STATES = { open: "open", used_up: "used up", expired: "expired", revoked: "withdrawn", ended: "closed, since whoever made it may not change this any more" };

/** Opens the dialog about one transcript. `onMoved` is called when it belongs to somebody else afterwards. */
export async function openSharing(record, { onMoved }) {
  const dialog = el("dialog", { class: "dialog wide", "aria-labelledby": "dialog-title" });
  const content = el("div", { class: "panel" });
  const close = el("button", { type: "button", class: "quiet", onclick: () => dialog.close() }, "Close");
  dialog.append(el("h2", { id: "dialog-title" }, "Who else reads it"), content, el("div", { class: "dialog-actions" }, close));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  const sharing = new Sharing(record, content, (changed) => {
    dialog.close();
    onMoved(changed);
  });
  await sharing.show();
}

class Sharing {
  constructor(record, root, onMoved) {
    this.record = record;
    this.root = root;
    this.onMoved = onMoved;
    this.path = `/api/v1/transcripts/${record.slug}`;
  }

  async show() {
    const [teams, links] = await Promise.all([this.#teams(), this.#links()]);
    this.root.replaceChildren(...teams, ...links);
  }

  // --- the team ---

  async #teams() {
    if (!person()) return [];
    const { results } = await api.get("/api/v1/workspaces");
    const open = results.filter((team) => team.role === "owner" || team.role === "editor" || team.id === this.record.workspace);
    if (!open.length) return [];
    const pick = choice([["", "Only you"], ...open.map((team) => [team.id, team.name])], this.record.workspace ?? "", () => {});
    pick.setAttribute("aria-label", "Belongs to");
    const move = action("Move", async () => this.onMoved(await this.#move(pick.value || null)));
    return [el("h3", {}, "Belongs to"), el("div", { class: "inline" }, pick, move)];
  }

  #move(workspace) {
    return api.patch(`${this.path}/`, { revision: this.record.revision, workspace });
  }

  // --- links ---

  async #links() {
    const { results } = await api.get(`${this.path}/shares`);
    const lines = results.map((share) => row(sentenceOf(share), `made ${atTime(share.created_at)}${share.has_password ? " · with a password" : ""}`, ["open", "ended"].includes(share.status) && this.#withdraw(share)));
    this.password = el("input", { id: "share-password", type: "text", autocomplete: "off", maxlength: "256", placeholder: "none" });
    this.lasts = choice(LASTS, "7", () => {});
    this.lasts.setAttribute("aria-label", "How long it works");
    this.views = el("input", { id: "share-views", type: "text", inputmode: "numeric", placeholder: "any number" });
    return [
      el("h3", {}, "Links"),
      el("p", { class: "note" }, "Whoever has a link reads this transcript without an account, and can save it."),
      rows(lines, "There is no link."),
      el(
        "div",
        { class: "share-wishes" },
        el("label", {}, "Works ", this.lasts),
        el("label", { for: "share-password" }, "Password"),
        this.password,
        el("label", { for: "share-views" }, "Opened at most, times"),
        this.views,
      ),
      action("Make a link", () => this.#make(), "primary"),
    ];
  }

  async #make() {
    const wishes = { expires_at: this.lasts.value ? new Date(Date.now() + Number(this.lasts.value) * DAY_MS).toISOString() : null };
    if (this.password.value) wishes.password = this.password.value;
    if (this.views.value.trim()) wishes.max_views = Number(this.views.value);
    const made = await api.post(`${this.path}/shares`, wishes);
    await showDialog({ title: "The link", text: "Copy it now: it is shown only once.", secret: made.url });
    await this.show();
  }

  #withdraw(share) {
    return action("Withdraw", () => api.erase(`${this.path}/shares/${share.id}`).then(() => this.show()));
  }
}

function sentenceOf(share) {
  const views = share.max_views ? `${share.views} of ${share.max_views} times opened` : `opened ${share.views} times`;
  const end = share.status === "open" && share.expires_at ? ` until ${atTime(share.expires_at)}` : "";
  return `${STATES[share.status][0].toUpperCase()}${STATES[share.status].slice(1)}${end} · ${views}`;
}
