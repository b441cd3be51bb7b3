// This appliance, for administrators: its licence, its models, whether people trust its certificate, and its records.

import * as api from "./api.js";
import { confirmDialog } from "./dialogs.js";
import { el, setText } from "./dom.js";
import { bytes, percent } from "./format.js";
import { action, onDay, panel, row, rows } from "./panels.js";

const RELEASES = "/api/v1/releases";
const STATES = { valid: "Valid", expiring: "Ends soon", grace: "In its grace period", restricted: "Restricted", evaluation: "Evaluation" };
const PROGRESS_EVERY_MS = 1000;

export class Box {
  constructor(root, { onLicence }) {
    this.root = root;
    this.onLicence = onLicence;
  }

  async show() {
    const [licence, releases, tls] = await Promise.all([api.get("/v1/licence"), api.get(RELEASES), api.get("/v1/tls")]);
    this.root.replaceChildren(el("h1", {}, "This appliance"), this.#licence(licence), this.#models(releases), this.#certificate(tls), this.#records());
  }

  // --- licence ---

  #licence(answer) {
    const file = el("input", { type: "file", class: "visually-hidden", id: "licence-file", accept: ".json,.licence" });
    const choose = action("Install a licence file", () => file.click());
    file.addEventListener("change", () => this.#install(file.files[0], choose));
    const terms = answer.licence ? `${answer.licence.customer} · ${answer.licence.edition}` : "No licence is installed.";
    const end = answer.until ? ` · new recordings until ${onDay(answer.until)}` : "";
    const notices = answer.notices.map((each) => el("p", { class: "notice" }, `${each.sentence} ${each.hint}`));
    const use = answer.use ? el("p", { class: "note" }, `${answer.use.hours.toFixed(1)} hours of audio this month${limitText(answer.limits)}. For the vendor: installation ${answer.site.install_id}.`) : null;
    return panel("Licence", ...notices, rows([row(STATES[answer.state] ?? answer.state, `${terms}${end}`, choose)]), use ?? "", file);
  }

  async #install(file, near) {
    try {
      await api.get("/v1/licence", { method: "POST", headers: { "Content-Type": "application/octet-stream" }, body: file });
      this.onLicence();
      await this.show();
    } catch (error) {
      near.closest(".panel").append(el("p", { class: "problem", role: "alert" }, `${error.message} ${error.hint ?? ""}`));
    }
  }

  // --- models ---

  #models(answer) {
    const lines = answer.releases.map((each) => this.#release(each));
    const found = answer.bundles.map((each) => row(each.name, each.size_bytes === null ? "a folder on a mounted drive" : `${bytes(each.size_bytes)}, on a mounted drive`, action("Import", () => this.#import({ bundle: each.name }), "primary")));
    const state = el("p", { class: "note", role: "status" });
    const file = el("input", { type: "file", class: "visually-hidden", id: "bundle-file", accept: ".tar", "aria-label": "A bundle of models" });
    let channel = "vendor";
    const pick = (which) => {
      channel = which;
      file.click();
    };
    file.addEventListener("change", () => this.#upload(file.files[0], channel, state));
    if (isRunning(answer.importing)) this.#follow(state);
    else setText(state, importText(answer.importing));
    const warning = "This is a build for development: it trusts model updates by keys that everybody has. Do not use it for real recordings.";
    return panel(
      "Models",
      ...(answer.development ? [el("p", { class: "notice" }, warning)] : []),
      rows(lines, "No release has been imported; the models that were fetched are in use."),
      ...(found.length ? [el("h3", {}, "Found on a drive"), rows(found)] : []),
      ...(answer.bundle_dir ? [el("p", { class: "note" }, bundleFolderText(answer.bundle_dir))] : []),
      el("div", { class: "inline" }, action("Import a bundle", () => pick("vendor")), answer.site_root && action("Import one of our own", () => pick("site"))),
      file,
      state,
    );
  }

  #release(each) {
    const marks = [each.active && "in use", each.failed && "did not load", each.previous && "the one before"].filter(Boolean).join(", ");
    const models = each.models.map((model) => model.name).join(", ");
    const notice = each.notice ? ` · ${each.notice.sentence} ${each.notice.hint}` : "";
    const switchTo = each.active || each.failed ? null : action("Use", () => this.#activate(each));
    return row(`${each.name}${marks ? ` · ${marks}` : ""}`, `${models} · imported ${onDay(each.imported_at)}${notice}`, switchTo, each.active ? action("Go back", () => this.#goBack(each)) : null);
  }

  async #activate(each) {
    await api.post(`${RELEASES}/${each.name}/activate`, {});
    await this.show();
  }

  async #goBack(each) {
    const text = "The release before is used again; recordings that are being worked on finish with this one.";
    if (!(await confirmDialog({ title: "Go back?", text, action: "Go back", cancel: "Stay" }))) return;
    await api.post(`${RELEASES}/${each.channel}/rollback`, {});
    await this.show();
  }

  /** It is verified while it arrives, and may be refused before all of it has. */
  async #upload(file, channel, line) {
    let refusal = null;
    const sent = api.get(`${RELEASES}?channel=${channel}`, { method: "POST", headers: { "Content-Type": "application/x-tar" }, body: file }).catch((error) => (refusal = error));
    const over = sent.then(() => true);
    setText(line, "Sending …");
    while (!(await Promise.race([over, later(PROGRESS_EVERY_MS)]))) {
      const status = await api.get(`${RELEASES}/import`).catch(() => ({})); // the sending says what is wrong
      if (isRunning(status)) setText(line, importText(status));
    }
    await this.#follow(line);
    const shown = this.root.querySelector("[role=status]");
    if (refusal && shown && !shown.textContent) setText(shown, `${refusal.message} ${refusal.hint ?? ""}`.trim());
  }

  async #import(which) {
    await api.post(RELEASES, which);
    await this.#follow(this.root.querySelector("[role=status]"));
  }

  async #follow(line) {
    for (;;) {
      const status = await api.get(`${RELEASES}/import`);
      setText(line, importText(status));
      if (!line.isConnected || !isRunning(status)) break;
      await later(PROGRESS_EVERY_MS);
    }
    if (line.isConnected) await this.show();
  }

  // --- certificate and records ---

  #certificate(tls) {
    const confirm = action("Everybody trusts it", async () => {
      const text = "Browsers will refuse plain HTTP to this appliance for a year. Confirm only when people’s computers trust the certificate.";
      if (!(await confirmDialog({ title: "Is the certificate trusted?", text, action: "Confirm", cancel: "Not yet" }))) return;
      await api.post("/v1/tls/confirm", {});
      await this.show();
    });
    const about = tls.confirmed ? "Confirmed as trusted." : "Until people’s computers trust it, browsers warn.";
    return panel("Certificate", rows([row("How to trust it", about, el("a", { class: "button", href: "/trust" }, "Instructions"), tls.confirmed ? null : confirm)]));
  }

  #records() {
    return panel(
      "Records",
      rows([
        row("Audit log", "Who did what, without a word of any transcript. Each line vouches for the one before.", action("Save", () => api.save("/api/v1/audit", "audit.jsonl"))),
        row("Usage", "Hours of audio by owner and model.", action("Save", () => api.save("/api/v1/usage", "usage.jsonl"))),
        row("Privacy", "What is kept where, and for how long.", el("a", { class: "button", href: "#privacy" }, "Read")),
      ]),
    );
  }
}

const limitText = (limits) => (limits?.hours_a_month ? ` of ${limits.hours_a_month}` : "");
const bundleFolderText = (folder) => `Bundles that lie in ${folder} are listed here; in a container that is the folder “bundles” beside compose.yml.`;
const later = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const isRunning = (status) => status.state === "running";

function importText(status) {
  if (status.failure) return `The last import was refused: ${status.failure.message} ${status.failure.hint}`;
  if (!isRunning(status)) return "";
  return status.step_total_bytes ? `${status.step}: ${percent(status.step_done_bytes / status.step_total_bytes)}` : `${status.step} …`;
}
