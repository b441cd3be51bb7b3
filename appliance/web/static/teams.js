// Teams: workspaces whose transcripts several people read or change.

import * as api from "./api.js";
import { confirmed } from "./confirm.js";
import { askDialog, confirmDialog } from "./dialogs.js";
import { el } from "./dom.js";
import { action, choice, panel, row, rows } from "./panels.js";
import { person } from "./session.js";

const WORKSPACES = "/api/v1/workspaces";
const ROLES = [
  ["viewer", "Reads"],
  ["editor", "Reads and changes"],
  ["owner", "Owner"],
];

export class Teams {
  constructor(root) {
    this.root = root;
  }

  async show() {
    const { results } = await api.get(WORKSPACES);
    const mine = results.filter((each) => each.role);
    const cards = await Promise.all(mine.map((each) => this.#card(each)));
    this.root.replaceChildren(
      el("h1", {}, "Teams"),
      el("p", { class: "lead" }, "What is sent to a team is read by all its members. A transcript can be moved there later."),
      ...cards,
      panel("A new team", action("Start a team", () => this.#start(), "primary")),
    );
  }

  async #card(team) {
    const { results } = await api.get(`${WORKSPACES}/${team.id}/members`);
    const own = team.role === "owner";
    return panel(
      team.name,
      rows(results.map((member) => this.#member(team, member, own))),
      el(
        "div",
        { class: "inline" },
        own && action("Add a member", () => this.#add(team)),
        own && action("Rename", () => this.#rename(team)),
        own && action("Erase the team", () => this.#erase(team)),
      ),
    );
  }

  #member(team, member, own) {
    const me = member.person_id === person()?.id;
    const path = `${WORKSPACES}/${team.id}/members/${member.person_id}`;
    const role = own
      ? choice(ROLES, member.role, (value) => api.put(path, { role: value }).then(() => this.show(), (error) => this.#refused(error)))
      : el("span", { class: "note" }, ROLES.find(([key]) => key === member.role)?.[1] ?? "");
    if (own) role.setAttribute("aria-label", `Role of ${member.name}`);
    const leave = me || own ? action(me ? "Leave" : "Remove", () => api.erase(path).then(() => this.show())) : null;
    return row(me ? `${member.name} (you)` : member.name, member.email, role, leave);
  }

  async #refused(error) {
    await this.show();
    this.root.append(el("p", { class: "problem", role: "alert" }, `${error.message} ${error.hint ?? ""}`));
  }

  async #start() {
    const name = await askDialog({ title: "A new team", label: "Its name", action: "Start" });
    if (name) await api.post(WORKSPACES, { name }).then(() => this.show());
  }

  async #add(team) {
    const email = await askDialog({ title: `Add to ${team.name}`, label: "E-mail address of somebody who has an account here", type: "email", action: "Add" });
    if (email) await api.post(`${WORKSPACES}/${team.id}/members`, { email, role: "viewer" }).then(() => this.show());
  }

  async #rename(team) {
    const name = await askDialog({ title: "Rename the team", label: "Its name", value: team.name });
    if (name) await api.patch(`${WORKSPACES}/${team.id}`, { name }).then(() => this.show());
  }

  async #erase(team) {
    const text = "The team and every transcript in it are erased for good, at once, for all its members.";
    if (!(await confirmDialog({ title: `Erase ${team.name}?`, text, action: "Erase for good" }))) return;
    await confirmed(() => api.erase(`${WORKSPACES}/${team.id}`));
    await this.show();
  }
}
