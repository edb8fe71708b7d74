// Writes values in the way people read them.

export const NONE = "–";

export const number = (value, digits = 0) =>
  value == null ? NONE : value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });

export function milliseconds(value) {
  if (value == null) return NONE;
  if (value < 1000) return `${number(value, value < 10 && value % 1 ? 1 : 0)} ms`;
  return `${number(value / 1000, value % 1000 ? 2 : 0)} s`;
}

export function duration(seconds) {
  if (seconds < 60) return `${Math.max(0, Math.round(seconds))} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
  const hours = Math.floor(seconds / 3600);
  return hours < 48 ? `${hours} h ${Math.floor((seconds % 3600) / 60)} min` : `${Math.floor(hours / 24)} days`;
}

// US dollars with as many digits as tell something.
export function dollars(value) {
  if (value == null) return NONE;
  const digits = value === 0 || value >= 100 ? 2 : value >= 0.01 ? 4 : 6;
  return `$${number(value, digits)}`;
}

// The time of day on the visitor's clock. at: Unix seconds
export const clock = (at, withSeconds = true) =>
  new Date(at * 1000).toLocaleTimeString("en-GB", {
    hour: "2-digit",
    minute: "2-digit",
    ...(withSeconds && { second: "2-digit" }),
  });

export const words = (name) => String(name).replaceAll("_", " ");
export const total = (counts) => counts.reduce((sum, count) => sum + (count ?? 0), 0);
export const plural = (count, noun) => `${number(count)} ${noun}${count === 1 ? "" : "s"}`;

// Shows control characters and invisible characters as visible marks, so that no part of a text can hide, or turn the
// direction of writing.
export function visible(text) {
  return text
    .replace(/[\u0000-\u0008\u000b-\u001f]/g, (found) => String.fromCharCode(0x2400 + found.charCodeAt(0)))
    .replace(/[\u007f-\u009f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g, codePoint);
}

const codePoint = (found) => `[U+${found.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}]`;
