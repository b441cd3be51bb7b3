// What is kept where, for how long, and who can see it: the appliance's own statement, as it is configured now.

import * as api from "./api.js";
import { el } from "./dom.js";
import { panel } from "./panels.js";

export class Privacy {
  constructor(root) {
    this.root = root;
  }

  async show() {
    const { sections } = await api.get("/v1/privacy");
    this.root.replaceChildren(
      el("h1", {}, "Privacy"),
      ...sections.map((section) => panel(section.title, el("ul", { class: "prose" }, ...section.statements.map((each) => el("li", {}, each.says))))),
    );
  }
}
