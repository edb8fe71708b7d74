// node told_answers.mjs <package> <requests as JSON> <base URL>…: prints, for each request, what the SDK yields of each URL.
// A request is [number of the case, way]; a way is "stream", "whole", or "joined", for the helper that joins a stream.
const [name, requests, ...baseURLs] = process.argv.slice(2);
const { default: OpenAI } = await import(name);
const messages = [{ role: "user", content: "Hi" }];

const ways = {
  async stream(chat, body, parts) {
    for await (const chunk of await chat.completions.create({ ...body, stream: true })) parts.push(chunk);
  },
  async whole(chat, body, parts) {
    parts.push(await chat.completions.create(body));
  },
  async joined(chat, body, parts) {
    parts.push(await chat.completions.stream({ ...body, stream: true }).finalChatCompletion());
  },
};

async function see(baseURL, number, way) {
  const { chat } = new OpenAI({ baseURL, apiKey: "sk-client-0a1b2c3d4e5f", maxRetries: 0 });
  const parts = [];
  try {
    await ways[way](chat, { model: "openai/gpt-4o", messages, user: String(number) }, parts);
    return { parts, error: null };
  } catch (error) {
    return { parts, error: error.message || error.constructor.name };
  }
}

const seen = [];
for (const [number, way] of JSON.parse(requests)) {
  seen.push(await Promise.all(baseURLs.map((url) => see(url, number, way))));
}
// The output is longer than a pipe holds: the process ends when it has been taken.
process.stdout.write(JSON.stringify(seen), () => process.exit(0));
