// node errors.mjs <base URL>: prints the error that the SDK throws for a request, and how many requests it has sent.
import OpenAI from "openai";

let requests = 0;
const counted = (...request) => {
  requests += 1;
  return fetch(...request);
};
const client = new OpenAI({ baseURL: process.argv[2], apiKey: "sk-client-0a1b2c3d4e5f", maxRetries: 1, fetch: counted });
try {
  await client.chat.completions.create({ model: "one", messages: [{ role: "user", content: "hello" }], stream: true });
  console.log(JSON.stringify({ requests }));
} catch (error) {
  const { status, message, code, constructor } = error;
  console.log(JSON.stringify({ kind: constructor.name, status, message, code: code ?? null, requests }));
}
