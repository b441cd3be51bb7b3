// SPDX-License-Identifier: MIT
//
// Copyright (c) 2026 the authors of the appliance
//
// Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
// documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
// rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
// persons to whom the Software is furnished to do so, subject to the following conditions:
//
// The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
// Software.
//
// THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
// WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
// COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
// OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.

// The envelope of a private transcript (docs/private-transcripts.md), and the seal of a result on its way here. Web Crypto
// only: no dependency, no document, no network, no storage.

export const FORMAT = "appliance-private-transcript";
export const FORMAT_VERSION = 1;
export const DEFAULT_ITERATIONS = 600_000;
export const MIN_ITERATIONS = 100_000;
export const MAX_ITERATIONS = 5_000_000; // some ten seconds: a hostile envelope must not hang the browser
export const MAX_ENVELOPE_BYTES = 64 * 2 ** 20;

const KDF = "PBKDF2-SHA-256";
const CIPHER = "AES-256-GCM";
const [SALT_BYTES, IV_BYTES, TAG_BYTES] = [16, 12, 16];
const FIELDS = ["cipher", "ciphertext", "format", "format_version", "iv", "kdf", "owner", "transcript", "version"];
const KDF_FIELDS = ["iterations", "name", "salt"];

/** Whatever can be wrong; `code` says what. */
export class EnvelopeError extends Error {
  constructor(code, message, hint = "") {
    super(message);
    Object.assign(this, { name: new.target.name, code, hint });
  }
}

/** The password is wrong, or something in the envelope was altered: nobody can tell which. */
export class WrongPassword extends EnvelopeError {
  constructor() {
    const hint = "Check the password: capitals, the layout of the keyboard. Without it nobody can read the text.";
    super("wrong_password", "It does not open: the password is wrong, or what is stored was altered.", hint);
  }
}

export class MalformedEnvelope extends EnvelopeError {
  constructor(problem) {
    super("invalid_envelope", `This is not the envelope of a private transcript: ${problem}.`);
  }
}

/** It belongs to another transcript or another person. */
export class StrangeEnvelope extends EnvelopeError {
  constructor() {
    super("strange_envelope", "The appliance sent the envelope of another transcript.", "Tell an administrator; nothing was opened.");
  }
}

export class SealBroken extends EnvelopeError {
  constructor() {
    super("seal_broken", "The result does not open: it was altered, or sealed to another key.", "Send the recording again.");
  }
}

// --- the envelope ---

/**
 * A key that opens and makes envelopes of one password and salt. Making it takes about a second; the key cannot be exported.
 * @returns {Promise<{key: CryptoKey, kdf: {name, iterations, salt}}>}
 */
export async function deriveKey(password, { iterations = DEFAULT_ITERATIONS, salt = random(SALT_BYTES) } = {}) {
  const secret = new TextEncoder().encode(password.normalize("NFC"));
  const base = await crypto.subtle.importKey("raw", secret, "PBKDF2", false, ["deriveKey"]);
  secret.fill(0);
  const parameters = { name: "PBKDF2", hash: "SHA-256", salt, iterations };
  const key = await crypto.subtle.deriveKey(parameters, base, { name: "AES-GCM", length: 256 }, false, ["encrypt", "decrypt"]);
  return { key, kdf: { name: KDF, iterations, salt: toBase64Url(salt) } };
}

/** @param content bytes @param about `{transcript, owner, version}` @param iv for test vectors only: never twice with one key */
export async function encrypt(content, { key, kdf }, { transcript, owner, version }, iv = random(IV_BYTES)) {
  const envelope = { format: FORMAT, format_version: FORMAT_VERSION, transcript, owner, version, kdf, cipher: CIPHER, iv: toBase64Url(iv) };
  const padded = pad(content);
  const parameters = { name: "AES-GCM", iv, additionalData: boundData(envelope), tagLength: 8 * TAG_BYTES };
  const sealed = new Uint8Array(await crypto.subtle.encrypt(parameters, key, padded));
  padded.fill(0);
  return { ...envelope, ciphertext: toBase64Url(sealed) };
}

/** The content of an envelope that `checkEnvelope` let pass. Throws `WrongPassword`. */
export async function decrypt(envelope, { key }) {
  const iv = fromBase64Url(envelope.iv);
  const parameters = { name: "AES-GCM", iv, additionalData: boundData(envelope), tagLength: 8 * TAG_BYTES };
  try {
    return unpad(new Uint8Array(await crypto.subtle.decrypt(parameters, key, fromBase64Url(envelope.ciphertext))));
  } catch {
    throw new WrongPassword();
  }
}

/** Checks, derives, decrypts. @returns `{content, unlocked}`: bytes, and the key for the next envelope */
export async function open(envelope, password) {
  checkEnvelope(envelope);
  const { iterations, salt } = envelope.kdf;
  const unlocked = await deriveKey(password, { iterations, salt: fromBase64Url(salt) });
  return { content: await decrypt(envelope, unlocked), unlocked };
}

/** The same content under another password, with a new salt, as the next version. @returns `{envelope, unlocked}` */
export async function changePassword(envelope, oldPassword, newPassword, iterations = DEFAULT_ITERATIONS) {
  const { content } = await open(envelope, oldPassword);
  const unlocked = await deriveKey(newPassword, { iterations });
  return { envelope: await encrypt(content, unlocked, { ...envelope, version: envelope.version + 1 }), unlocked };
}

/** Everything that can be checked without the password. Throws `MalformedEnvelope`. */
export function checkEnvelope(envelope) {
  const want = (right, problem) => {
    if (!right) throw new MalformedEnvelope(problem);
  };
  want(sameNames(envelope, FIELDS) && sameNames(envelope.kdf, KDF_FIELDS), "its fields are not the right ones");
  want(envelope.format === FORMAT && envelope.format_version === FORMAT_VERSION, "its format is not known here");
  want(envelope.cipher === CIPHER && envelope.kdf.name === KDF, "its cipher is not known here");
  const { iterations } = envelope.kdf;
  want(Number.isInteger(iterations) && iterations >= MIN_ITERATIONS && iterations <= MAX_ITERATIONS, "its number of iterations is out of bounds");
  want(Number.isInteger(envelope.version) && envelope.version >= 1, "its version is no number");
  want(isName(envelope.transcript) && isName(envelope.owner), "it does not say whose it is");
  want(bytesOf(envelope.kdf.salt)?.length === SALT_BYTES, "its salt is not 16 bytes");
  want(bytesOf(envelope.iv)?.length === IV_BYTES, "its iv is not 12 bytes");
  want((bytesOf(envelope.ciphertext)?.length ?? 0) > TAG_BYTES, "its ciphertext is too short");
}

const isName = (value) => typeof value === "string" && value.length >= 1 && value.length <= 200;
const sameNames = (value, names) =>
  value !== null && typeof value === "object" && JSON.stringify(Object.keys(value).sort()) === JSON.stringify(names);

/** What GCM binds beside the ciphertext: a change in any of these is seen. */
function boundData(envelope) {
  const { kdf } = envelope;
  return joinFields([
    envelope.format,
    envelope.format_version,
    envelope.transcript,
    envelope.owner,
    envelope.version,
    kdf.name,
    kdf.iterations,
    fromBase64Url(kdf.salt),
    envelope.cipher,
  ]);
}

// --- the seal of a result: HPKE, RFC 9180, base mode, one message ---

const KEM_ID = 0x0010; // DHKEM(P-256, HKDF-SHA256)
const KDF_ID = 0x0001; // HKDF-SHA256
const AEAD_ID = 0x0002; // AES-256-GCM
const POINT_BYTES = 65;
const HASH_BYTES = 32;
const P256 = { name: "ECDH", namedCurve: "P-256" };

/** A key pair for one job. The private key stays in this tab's memory and cannot be exported. */
export async function makeSealKey() {
  const { privateKey, publicKey } = await crypto.subtle.generateKey(P256, false, ["deriveBits"]);
  return { privateKey, publicKey: new Uint8Array(await crypto.subtle.exportKey("raw", publicKey)) };
}

/** Opens a result that was sealed to `makeSealKey`'s public key for this transcript. Throws `SealBroken`. */
export function openSealedResult(sealed, sealKey, slug) {
  return openSeal(sealed, sealKey, joinFields(["appliance private result", 1, slug]));
}

async function openSeal(sealed, sealKey, info) {
  const [enc, ciphertext] = [sealed.subarray(0, POINT_BYTES), sealed.subarray(POINT_BYTES)];
  try {
    const { key, nonce } = await sealSecrets(enc, sealKey, info);
    const aes = await crypto.subtle.importKey("raw", key, "AES-GCM", false, ["decrypt"]);
    return new Uint8Array(await crypto.subtle.decrypt({ name: "AES-GCM", iv: nonce }, aes, ciphertext));
  } catch {
    throw new SealBroken();
  }
}

/** Key and nonce of the one message. `aead`: AES-256-GCM; the RFC has vectors for another one of the same sizes. */
export async function sealSecrets(enc, { privateKey, publicKey }, info, aead = AEAD_ID) {
  return keySchedule(await decapsulate(enc, privateKey, publicKey), info, aead);
}

// RFC 9180, section 4.1: Decap.
async function decapsulate(enc, privateKey, publicKey) {
  const theirs = await crypto.subtle.importKey("raw", enc, P256, false, []);
  const dh = new Uint8Array(await crypto.subtle.deriveBits({ name: "ECDH", public: theirs }, privateKey, 256));
  const suite = concat(utf8("KEM"), twoBytes(KEM_ID));
  const prk = await labeledExtract(suite, new Uint8Array(), "eae_prk", dh);
  return labeledExpand(suite, prk, "shared_secret", concat(enc, publicKey), HASH_BYTES);
}

// RFC 9180, section 5.1: KeySchedule, base mode.
async function keySchedule(shared, info, aead) {
  const suite = concat(utf8("HPKE"), twoBytes(KEM_ID), twoBytes(KDF_ID), twoBytes(aead));
  const pskIdHash = await labeledExtract(suite, new Uint8Array(), "psk_id_hash", new Uint8Array());
  const infoHash = await labeledExtract(suite, new Uint8Array(), "info_hash", info);
  const context = concat(new Uint8Array([0]), pskIdHash, infoHash);
  const secret = await labeledExtract(suite, shared, "secret", new Uint8Array());
  return {
    key: await labeledExpand(suite, secret, "key", context, HASH_BYTES),
    nonce: await labeledExpand(suite, secret, "base_nonce", context, IV_BYTES),
  };
}

const labeledExtract = (suite, salt, label, keyMaterial) =>
  hmac(salt.length ? salt : new Uint8Array(HASH_BYTES), concat(utf8("HPKE-v1"), suite, utf8(label), keyMaterial));

/** At most one block of HKDF-Expand: nothing here is longer than a hash. */
async function labeledExpand(suite, prk, label, info, length) {
  const block = concat(twoBytes(length), utf8("HPKE-v1"), suite, utf8(label), info, new Uint8Array([1]));
  return (await hmac(prk, block)).subarray(0, length);
}

async function hmac(key, message) {
  const imported = await crypto.subtle.importKey("raw", key, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  return new Uint8Array(await crypto.subtle.sign("HMAC", imported, message));
}

// --- bytes ---

const random = (n) => crypto.getRandomValues(new Uint8Array(n));
const utf8 = (text) => new TextEncoder().encode(text);
const twoBytes = (n) => new Uint8Array([n >> 8, n & 255]);

function concat(...parts) {
  const joined = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}

/** Each field as its length (4 bytes, big-endian) and its bytes; texts in UTF-8, numbers in decimal digits. */
export function joinFields(fields) {
  return concat(
    ...fields.flatMap((field) => {
      const bytes = field instanceof Uint8Array ? field : utf8(String(field));
      const length = new Uint8Array(4);
      new DataView(length.buffer).setUint32(0, bytes.length);
      return [length, bytes];
    }),
  );
}

/** 0x80, then zeros up to a coarse length: at most an eighth longer (or 1 KiB), so the size says little about the text. */
export function pad(content) {
  const length = content.length + 1;
  const step = Math.max(1024, 2 ** (Math.floor(Math.log2(length)) - 3));
  const padded = new Uint8Array(Math.ceil(length / step) * step);
  padded.set(content);
  padded[content.length] = 0x80;
  return padded;
}

export function unpad(padded) {
  let end = padded.length;
  while (end > 0 && padded[end - 1] === 0) end -= 1;
  if (padded[end - 1] !== 0x80) throw new MalformedEnvelope("its padding is broken");
  return padded.subarray(0, end - 1);
}

export function toBase64Url(bytes) {
  const pieces = [];
  for (let at = 0; at < bytes.length; at += 0x8000) pieces.push(String.fromCharCode(...bytes.subarray(at, at + 0x8000)));
  return btoa(pieces.join("")).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

/** Throws `MalformedEnvelope`. */
export function fromBase64Url(text) {
  if (typeof text !== "string" || !/^[A-Za-z0-9_-]*$/.test(text)) throw new MalformedEnvelope("it holds what is not base64url");
  try {
    const binary = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
    return Uint8Array.from(binary, (char) => char.charCodeAt(0));
  } catch {
    throw new MalformedEnvelope("it holds what is not base64url");
  }
}

const bytesOf = (text) => {
  try {
    return fromBase64Url(text);
  } catch {
    return null;
  }
};
