// Questions that need an answer before anything happens. The browser's own <dialog>: focus and Escape come with it.

import { el } from "./dom.js";

/** Asks before something that cannot be undone; resolves to true or false. */
export function confirmDialog({ title, text, action, cancel = "Keep it" }) {
  return open(title, [el("p", {}, text)], { action, cancel, danger: true }, () => true, false);
}

/** Asks for one line of text; resolves to it, trimmed (a password as it is), or to null. */
export function askDialog({ title, text = "", label, value = "", action = "Save", type = "text", autocomplete = "off" }) {
  const input = el("input", { type, value, id: "dialog-input", maxlength: "256", autocomplete });
  const body = [...(text ? [el("p", {}, text)] : []), el("label", { for: "dialog-input" }, label), input];
  const answer = open(title, body, { action, cancel: "Cancel", danger: false }, () => (type === "password" ? input.value : input.value.trim()), null);
  input.select();
  return answer;
}

/** Says something that should not be missed. */
export function tellDialog({ title, text }) {
  return open(title, [el("p", {}, text)], { action: "Good", danger: false }, () => true, true);
}

/** Shows something once, such as a link or a secret; resolves when it was read. */
export function showDialog({ title, text, secret }) {
  const shown = el("input", { type: "text", class: "secret", value: secret, readonly: true, id: "dialog-input", onfocus: (event) => event.target.select() });
  return open(title, [el("p", {}, text), shown], { action: "I have kept it", danger: false }, () => true, true);
}

function open(title, body, { action, cancel, danger }, answer, dismissed) {
  const dialog = el("dialog", { class: "dialog", "aria-labelledby": "dialog-title" });
  const form = el(
    "form",
    { method: "dialog" },
    el("h2", { id: "dialog-title" }, title),
    ...body,
    el(
      "div",
      { class: "dialog-actions" },
      cancel && el("button", { type: "button", class: "quiet", autofocus: danger, onclick: () => dialog.close() }, cancel),
      el("button", { type: "submit", class: danger ? "danger" : "primary", value: "yes" }, action),
    ),
  );
  dialog.append(form);
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes" ? answer() : dismissed);
    });
  });
}
