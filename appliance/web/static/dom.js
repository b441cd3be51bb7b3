// Builds elements without innerHTML, so that nothing a recording or a file name says can become markup.

/** `el("p", {class: "note", onclick: f}, "text", child)`; null and false children and attributes are left out. */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

export const byId = (id) => document.getElementById(id);

/** Text changes only when it differs: screen readers and the layout are left in peace. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Says a sentence to screen readers; for changes of state, never for every percent. */
export function announce(sentence) {
  setText(byId("announcer"), sentence);
}
