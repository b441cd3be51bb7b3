// What the pages about accounts, people and the appliance are built of: a card with a title, lists of rows, and actions that
// say beside them what went wrong.

import { el, setText } from "./dom.js";

export function panel(title, ...children) {
  return el("section", { class: "card panel" }, el("h2", {}, title), ...children);
}

/** A line of a list: what it is, what there is to say of it, and what can be done. */
export function row(name, about, ...actions) {
  return el("li", { class: "row" }, el("div", { class: "row-text" }, el("strong", {}, name), el("span", { class: "note" }, about)), el("div", { class: "row-actions" }, ...actions));
}

export const rows = (entries, empty) => (entries.length ? el("ul", { class: "rows" }, ...entries) : el("p", { class: "note" }, empty));

/** A button whose refusal stands beside it; `work` may throw an AbortError to change nothing. */
export function action(label, work, look = "plain") {
  const button = el("button", { type: "button", class: look }, label);
  button.addEventListener("click", async () => {
    const problem = problemAt(button.closest(".panel") ?? button.parentElement);
    button.disabled = true;
    setText(problem, "");
    try {
      await work();
    } catch (error) {
      if (error.name !== "AbortError") setText(problem, `${error.message} ${error.hint ?? ""}`.trim());
    }
    button.disabled = false;
  });
  return button;
}

function problemAt(place) {
  const known = place.querySelector(":scope > .problem");
  if (known) return known;
  const made = el("p", { class: "problem", role: "alert" });
  place.append(made);
  return made;
}

/** A select of `[value, label]` pairs. */
export function choice(options, value, onChange) {
  const select = el("select", { onchange: (event) => onChange(event.target.value) }, ...options.map(([key, label]) => el("option", { value: key }, label)));
  select.value = value;
  return select;
}

const day = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });
const moment = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
export const onDay = (text) => (text ? day.format(new Date(text)) : "never");
export const atTime = (text) => (text ? moment.format(new Date(text)) : "never");
