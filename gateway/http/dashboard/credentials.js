// What the visitor may show to the gateway: an API key, and viewer tokens, each for one stream or feed. They are kept
// in sessionStorage, which ends with the tab.

const KEY = "rivergate.key";
const TOKENS = "rivergate.tokens"; // a JSON object of tokens by what they are for

export const STATISTICS = "feed:statistics"; // what the viewer token of the numbers is for

const tokens = () => JSON.parse(sessionStorage.getItem(TOKENS) ?? "{}");

// What a viewer token is for: "stream:ID" or "feed:NAME"; null: the text is no viewer token.
function audienceOf(text) {
  const found = /^rgv_[a-z0-9]+_\d+_([\w-]+)\./.exec(text);
  if (!found) return null;
  try {
    return atob(found[1].replaceAll("-", "+").replaceAll("_", "/"));
  } catch {
    return null;
  }
}

// Takes an API key or a viewer token; returns what it is for, null for a key.
export function take(text) {
  const given = text.trim();
  const audience = given.startsWith("rgv_") ? (audienceOf(given) ?? STATISTICS) : null;
  if (audience === null) sessionStorage.setItem(KEY, given);
  else sessionStorage.setItem(TOKENS, JSON.stringify({ ...tokens(), [audience]: given }));
  return audience;
}

export const key = () => sessionStorage.getItem(KEY); // the API key, or null
export const hasAny = () => key() !== null || sessionStorage.getItem(TOKENS) !== null;

// Forgets what was refused: the token for this, or the key.
export function forget(audience) {
  const { [audience]: refused, ...others } = tokens();
  if (refused === undefined) sessionStorage.removeItem(KEY);
  else if (Object.keys(others).length) sessionStorage.setItem(TOKENS, JSON.stringify(others));
  else sessionStorage.removeItem(TOKENS);
}

export function forgetAll() {
  sessionStorage.removeItem(KEY);
  sessionStorage.removeItem(TOKENS);
}

// The address and the headers with which something is asked for: its token, else the key.
export function asking(path, audience) {
  const token = tokens()[audience];
  if (token)
    return { url: `${path}${path.includes("?") ? "&" : "?"}token=${encodeURIComponent(token)}`, headers: {} };
  return { url: path, headers: key() ? { Authorization: `Bearer ${key()}` } : {} };
}

// The JSON at this path; throws an Error with the `status` and the message of a refusal.
export async function getJson(path, audience = STATISTICS) {
  const { url, headers } = asking(path, audience);
  const answer = await fetch(url, { headers, cache: "no-store" });
  const body = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(body.error?.message ?? "refused"), { status: answer.status });
  return body;
}
