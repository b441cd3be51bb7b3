// Speaks to the appliance: the native dialect of its REST API, and nothing else anywhere.

import { adopt, cookies, person, proof } from "./session.js";

const TRANSCRIPTS = "/api/v1/transcripts/";

/** What the appliance refused, in its own words. */
export class ApiError extends Error {
  constructor(status, { error, code, hint } = {}, retryAfterS = null) {
    super(error ?? `The appliance answered with status ${status}.`);
    this.status = status;
    this.code = code ?? "";
    this.hint = hint ?? "";
    this.retryAfterS = retryAfterS;
  }
}

/** The appliance could not be reached at all. */
export class Unreachable extends ApiError {
  constructor() {
    super(0, {
      error: "The appliance does not answer.",
      code: "unreachable",
      hint: "Check that it is running and that your network reaches it.",
    });
  }
}

/** Asks the appliance. Once more when the token against other sites has changed meanwhile, in another tab for example. */
async function send(path, options = {}) {
  try {
    return await attempt(path, options);
  } catch (error) {
    if (error.code !== "csrf_token_wrong") throw error;
    await readSession();
    return attempt(path, options);
  }
}

async function attempt(path, options) {
  const headers = { ...proof(options.method), ...options.headers };
  let response;
  try {
    response = await fetch(path, { cache: "no-store", credentials: cookies(), ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Unreachable();
  }
  if (!response.ok) throw new ApiError(response.status, await facts(response), retryAfter(response.headers.get("Retry-After")));
  return response;
}

const facts = (response) => response.json().catch(() => ({}));
const retryAfter = (header) => (/^\d+$/.test(header ?? "") ? Number(header) : null);

async function json(path, options) {
  const response = await send(path, options);
  return response.status === 204 ? null : response.json();
}

/** Who is signed in, as the appliance sees it; asked at the start and whenever the token has changed. */
export async function readSession() {
  return adopt(await (await attempt("/api/v1/session", {})).json());
}

/** Name and owner of a key that is not used yet; null when the appliance does not know it. */
export async function lookAtKey(key) {
  return (await json("/api/v1/session", { headers: { Authorization: `Bearer ${key}` }, credentials: "omit" })).key;
}

/** A call whose answer is a new session: signing in, a new password, another second factor. */
export async function enter(path, body) {
  return adopt(await post(path, body));
}

const carrying = (method) => (path, body) =>
  json(path, { method, headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

export const get = json;
export const post = carrying("POST");
export const put = carrying("PUT");
export const patch = carrying("PATCH");
export const erase = (path) => send(path, { method: "DELETE" });

/** What no JSON is: a sealed result. */
export const bytes = async (path) => new Uint8Array(await (await send(path)).arrayBuffer());

export const models = () => json("/v1/models");
/** The teams that this person may send recordings to. */
export async function teams() {
  if (!person()) return [];
  return (await json("/api/v1/workspaces")).results.filter((team) => team.role === "owner" || team.role === "editor");
}
export const languages = () => json("/v1/languages");
export const transcript = (id, signal) => json(`${TRANSCRIPTS}${id}/`, { signal });
export const remove = (id) => erase(`${TRANSCRIPTS}${id}/`);
export const edit = (id, changes) => patch(`${TRANSCRIPTS}${id}/`, changes);

export function list({ query = "", limit = 30, offset = 0, signal } = {}) {
  const parameters = new URLSearchParams({ limit, offset });
  if (query) parameters.set("q", query);
  return json(`${TRANSCRIPTS}?${parameters}`, { signal });
}

export const saveExport = (id, format) => save(`${TRANSCRIPTS}${id}/export/${format}/`, `transcript.${format}`);

/** Fetches a document and hands it to the browser's own saving: a plain link could not carry the key. */
export async function save(path, name) {
  const response = await send(path);
  const address = URL.createObjectURL(await response.blob());
  const link = document.createElement("a");
  link.href = address;
  link.download = fileName(response.headers.get("Content-Disposition")) ?? name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

function fileName(disposition) {
  const encoded = /filename\*=UTF-8''([^;]+)/i.exec(disposition ?? "");
  if (encoded) return decodeURIComponent(encoded[1]);
  return /filename="([^"]+)"/.exec(disposition ?? "")?.[1] ?? null;
}

/** A key for one attempt to send one file; `randomUUID` would need HTTPS. */
export function idempotencyKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Sends one recording. XMLHttpRequest, because fetch cannot say how much of a body has left.
 * @param onProgress called with bytes sent
 * @returns `{id, slug, status, events_url}`
 */
export function upload(file, fields, { key, onProgress, signal }) {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) form.append(name, value);
  form.append("file", file, file.name);
  const request = new XMLHttpRequest();
  return new Promise((resolve, reject) => {
    request.open("POST", TRANSCRIPTS);
    for (const [name, value] of Object.entries(proof("POST"))) request.setRequestHeader(name, value);
    request.setRequestHeader("Idempotency-Key", key);
    request.responseType = "json";
    request.upload.onprogress = (event) => onProgress(Math.min(event.loaded, file.size));
    request.onload = () => (request.status < 300 ? resolve(request.response) : reject(refusal(request)));
    request.onerror = () => reject(new Unreachable());
    request.onabort = () => reject(new DOMException("Not wanted any more", "AbortError"));
    signal.addEventListener("abort", () => request.abort(), { once: true });
    request.send(form);
  });
}

const refusal = (request) =>
  new ApiError(request.status, request.response ?? {}, retryAfter(request.getResponseHeader("Retry-After")));

/**
 * The events of one transcript until it ends; comes back by itself when the connection drops.
 * Yields `{type, data}` with type "state", "segments", "done" or "error", and "lost" while there is no connection.
 */
export async function* follow(id, signal) {
  for (let failures = 0; ; failures += 1) {
    try {
      for await (const event of events(`${TRANSCRIPTS}${id}/events`, signal)) {
        failures = 0;
        yield event;
        if (event.type === "done" || event.type === "error") return;
      }
    } catch (error) {
      if (error.name === "AbortError") return;
      if (error instanceof ApiError && error.status >= 400 && error.status < 500) throw error;
    }
    yield { type: "lost", data: {} };
    await wait(Math.min(10_000, 500 * 2 ** failures), signal);
    if (signal.aborted) return;
  }
}

const wait = (ms, signal) =>
  new Promise((resolve) => {
    setTimeout(resolve, ms);
    signal.addEventListener("abort", resolve, { once: true });
  });

// A heartbeat comes every 15 s: after this long without a byte the connection is dead, whatever the browser believes.
const SILENCE_MS = 45_000;
async function readOrSilence(reader) {
  let timer;
  const silence = new Promise((resolve) => {
    timer = setTimeout(resolve, SILENCE_MS, { done: true });
  });
  try {
    return await Promise.race([reader.read(), silence]);
  } finally {
    clearTimeout(timer);
  }
}

// Server-sent events read by fetch: the browser's EventSource cannot send the Authorization header.
async function* events(path, signal) {
  const response = await send(path, { headers: { Accept: "text/event-stream" }, signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await readOrSilence(reader);
    if (done) return reader.cancel();
    const blocks = (rest + value).replaceAll("\r\n", "\n").split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const event = parseEvent(block);
      if (event) yield event;
    }
  }
}

/** One block of an event stream; null for a comment, such as the server's heartbeat. */
export function parseEvent(block) {
  let type = "message";
  const data = [];
  for (const line of block.split("\n")) {
    if (line.startsWith("event:")) type = line.slice(6).trim();
    else if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""));
  }
  return data.length ? { type, data: JSON.parse(data.join("\n")) } : null;
}
