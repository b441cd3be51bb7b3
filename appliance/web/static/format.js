// Numbers as people read them. Pure: no document, no network.

const LOCALE = "en-GB";
const UNITS = ["bytes", "kB", "MB", "GB", "TB"];

/** 3723.4 → "1:02:03"; 63 → "1:03". */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const pad = (n) => String(n).padStart(2, "0");
  return h ? `${h}:${pad(m)}:${pad(s)}` : `${m}:${pad(s)}`;
}

/** 5_242_880 → "5.2 MB", decimal as file managers show it. */
export function bytes(n) {
  let [value, unit] = [n, 0];
  while (value >= 999.5 && unit < UNITS.length - 1) [value, unit] = [value / 1000, unit + 1];
  const digits = unit === 0 || value >= 99.5 ? 0 : 1;
  return `${value.toFixed(digits)} ${UNITS[unit]}`;
}

/** A length of time, as roughly as it is known: "about 2 minutes". */
export function about(seconds) {
  if (seconds < 8) return "a few seconds";
  if (seconds < 55) return `about ${Math.round(seconds / 5) * 5} seconds`;
  if (seconds < 90) return "about a minute";
  if (seconds < 3570) return `about ${Math.round(seconds / 60)} minutes`;
  const halves = Math.round(seconds / 1800) / 2;
  return halves === 1 ? "about an hour" : `about ${halves} hours`;
}

/** Never "100 %" before the end. */
export const percent = (fraction) => `${Math.min(99, Math.floor(fraction * 100))} %`;
export const sureness = (probability) => `${Math.round(probability * 100)} %`;

export function count(n, one, many = `${one}s`) {
  return `${n.toLocaleString(LOCALE)} ${n === 1 ? one : many}`;
}

export function day(iso) {
  const date = new Date(iso);
  const options = { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" };
  if (date.getFullYear() !== new Date().getFullYear()) options.year = "numeric";
  return date.toLocaleString(LOCALE, options);
}

const languageNames = new Intl.DisplayNames(["en"], { type: "language", fallback: "code" });

export function language(code) {
  if (!code || code === "und") return "no language";
  try {
    return languageNames.of(code);
  } catch {
    return code;
  }
}

/** "SPEAKER_00" → "Speaker 1"; channels and given names stay as they are. */
export function speakerName(speaker) {
  if (speaker.name) return speaker.name;
  const match = /^SPEAKER_(\d+)$/.exec(speaker.label);
  return match ? `Speaker ${Number(match[1]) + 1}` : speaker.label;
}
