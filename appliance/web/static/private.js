// Private transcripts of this tab: encrypted as soon as they are made, opened with a password. Keys and text are in this
// page's memory only, never in a storage; a reload forgets them.

import * as api from "./api.js";
import * as envelope from "./envelope.js";
import { exportDocument } from "./private_export.js";

const HIDDEN_NAME = "recording";
const made = new Map(); // slug → what opens it, from the upload until it is looked at or left

/** Web Crypto exists on HTTPS pages (and on localhost) only. */
export const isPossible = () => globalThis.crypto?.subtle !== undefined;

/** Whether a transcript of this tab is not encrypted yet: the page should stay open. */
export const isBusy = () => [...made.values()].some((each) => each.state === "working");

const path = (slug, part) => `/api/v1/transcripts/${slug}/${part}`;
const encode = (document) => new TextEncoder().encode(JSON.stringify(document));
const decode = (bytes) => JSON.parse(new TextDecoder().decode(bytes));

/** What is wrong with what was stored or typed, told like a refusal of the appliance. */
async function plainly(work) {
  try {
    return await work;
  } catch (error) {
    if (error instanceof envelope.EnvelopeError) error.status = 422;
    throw error;
  }
}

// --- sending ---

/** Keys for one recording, before it is sent. The password itself is not kept. */
export async function prepare(file, password, { hideName }) {
  const [unlocked, sealKey] = await Promise.all([envelope.deriveKey(password), envelope.makeSealKey()]);
  const fields = { private: "true", seal_to: envelope.toBase64Url(sealKey.publicKey), hide_name: String(hideName) };
  const secret = { unlocked, sealKey, name: hideName ? file.name : null };
  return { secret, fields, file: hideName ? new File([file], HIDDEN_NAME, { type: file.type }) : file };
}

/** Called with the appliance's answer to the upload: encrypts the result when it is there, whatever view is shown then. */
export function keep(slug, secret) {
  const entry = { ...secret, state: "working" };
  made.set(slug, entry);
  entry.done = secure(slug, entry).then(
    () => (entry.state = "done"),
    (error) => Object.assign(entry, { state: "failed", error }),
  );
}

async function secure(slug, secret) {
  for await (const { type } of api.follow(slug, new AbortController().signal)) if (type === "error") return;
  const { owner, result_sealed: isSealed } = await api.get(path(slug, "private/"));
  const answer = await api.bytes(path(slug, "result/"));
  const content = isSealed ? await envelope.openSealedResult(answer, secret.sealKey, slug) : answer;
  const document = decode(content);
  if (secret.name) Object.assign(document, { title: stemOf(secret.name), audio: { ...document.audio, filename: secret.name } });
  const sealed = await envelope.encrypt(secret.name ? encode(document) : content, secret.unlocked, { transcript: slug, owner, version: 1 });
  await store(slug, sealed);
  await api.post(path(slug, "result/ack"), {});
  content.fill(0);
}

/** While the appliance has no memory to take it, the text is safe in this tab; what it refuses for good is an error. */
async function store(slug, sealed) {
  for (;;) {
    try {
      return await api.put(path(slug, "envelope/"), sealed);
    } catch (error) {
      if (error.status !== 503 || !error.retryAfterS) throw error;
      await new Promise((resolve) => setTimeout(resolve, error.retryAfterS * 1000));
    }
  }
}

const stemOf = (name) => (name.lastIndexOf(".") > 0 ? name.slice(0, name.lastIndexOf(".")) : name);

// --- opening ---

export const isMade = (slug) => made.has(slug);

/** The transcript that this tab has just made, without asking for its password; null when there is none. */
export async function openMade(slug) {
  const entry = made.get(slug);
  if (!entry) return null;
  await entry.done;
  made.delete(slug);
  if (entry.error) throw Object.assign(entry.error, { status: entry.error.status ?? 422 });
  const stored = await fetchEnvelope(slug);
  return plainly(envelope.decrypt(stored, entry.unlocked).then((content) => new Opened(slug, stored, entry.unlocked, decode(content))));
}

export async function unlock(slug, password) {
  const stored = await fetchEnvelope(slug);
  const { content, unlocked } = await plainly(envelope.open(stored, password));
  return new Opened(slug, stored, unlocked, decode(content));
}

/** Forgets the keys of what was made here, for instance when somebody signs out. */
export function forgetAll() {
  for (const [slug, entry] of made) if (entry.state !== "working") made.delete(slug);
}

/** Checked before it is opened: that it is the envelope of this transcript, and its owner's. */
async function fetchEnvelope(slug) {
  const [stored, { owner }] = await Promise.all([api.get(path(slug, "envelope/")), api.get(path(slug, "private/"))]);
  return plainly(
    (async () => {
      envelope.checkEnvelope(stored);
      if (stored.transcript !== slug || stored.owner !== owner) throw new envelope.StrangeEnvelope();
      return stored;
    })(),
  );
}

/** An unlocked transcript. Every change is encrypted again and stored as the next version. */
export class Opened {
  #stored;
  #unlocked;

  constructor(slug, stored, unlocked, document) {
    this.slug = slug;
    this.document = document;
    this.#stored = stored;
    this.#unlocked = unlocked;
  }

  /** As the view shows it. */
  get record() {
    const { title, revision, transcript } = this.document;
    const { text, language, languages, duration, speakers, warnings } = transcript;
    const segments = transcript.segments.map((segment) => ({ ...segment, words: segment.words.map((word) => ({ ...word, word: word.text })) }));
    return { title, revision, text, language, languages, duration, speakers, warnings, segments };
  }

  /** @param changes `title`, `speakers` {label: name or null}, `texts` [one for each segment] */
  async edit(changes) {
    const document = edited(this.document, changes);
    await this.#store(document, this.#unlocked);
    this.document = document;
  }

  /** Encrypts with a new password and a new salt. Throws `WrongPassword` when the old one is not right. */
  async changePassword(oldPassword, newPassword) {
    await plainly(envelope.open(this.#stored, oldPassword));
    const unlocked = await envelope.deriveKey(newPassword);
    await this.#store(this.document, unlocked);
    this.#unlocked = unlocked;
  }

  export(format) {
    return exportDocument(this.document, format);
  }

  /** Lets go of key and text. */
  close() {
    this.document = this.#unlocked = this.#stored = null;
  }

  async #store(document, unlocked) {
    const { transcript, owner, version } = this.#stored;
    const next = await envelope.encrypt(encode(document), unlocked, { transcript, owner, version: version + 1 });
    await api.put(path(this.slug, "envelope/"), next);
    this.#stored = next;
  }
}

/** Pure: the document with the changes, one revision later. */
export function edited(document, { title, speakers = {}, texts }) {
  const { transcript } = document;
  const segments = texts ? transcript.segments.map((segment, n) => rewritten(segment, texts[n])) : transcript.segments;
  const named = transcript.speakers.map((speaker) => (speaker.label in speakers ? { ...speaker, name: speakers[speaker.label] } : speaker));
  const text = texts ? segments.map((segment) => segment.text).join(" ") : transcript.text;
  return { ...document, title: title ?? document.title, revision: document.revision + 1, transcript: { ...transcript, text, segments, speakers: named } };
}

/** New words share the segment's time by their length; what somebody typed is beyond doubt. */
function rewritten(segment, text) {
  if (text === segment.text) return segment;
  const parts = text.split(/\s+/).filter(Boolean);
  const total = parts.reduce((sum, part) => sum + part.length, 0);
  const pace = (segment.end - segment.start) / Math.max(1, total);
  let at = segment.start;
  const words = parts.map((part) => {
    const word = { start: at, end: at + part.length * pace, text: part, probability: 1, speaker: segment.speaker, space_before: true };
    at = word.end;
    return word;
  });
  return { ...segment, text: parts.join(" "), words: segment.words.length ? words : [] };
}
