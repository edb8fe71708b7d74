// node told_errors.mjs <package> <cases> <base URL>…: prints, for each case, what the SDK throws for a request to each URL.
// The number of the case goes into `user`. `text`: the content before the error; `requests`: how many the SDK has sent.
const [name, cases, ...baseURLs] = process.argv.slice(2);
const { default: OpenAI } = await import(name);
const messages = [{ role: "user", content: "hello" }];

async function see(baseURL, user) {
  const seen = { text: "", requests: 0 };
  const counted = (...request) => {
    seen.requests += 1;
    return fetch(...request);
  };
  const client = new OpenAI({ baseURL, apiKey: "sk-client-0a1b2c3d4e5f", maxRetries: 1, fetch: counted });
  try {
    for await (const chunk of await client.chat.completions.create({ model: "one", messages, user, stream: true })) {
      seen.text += chunk.choices?.[0]?.delta?.content ?? "";
    }
    return seen;
  } catch (error) {
    const { status, message, code, constructor } = error;
    return { ...seen, kind: constructor.name, status: status ?? null, message, code: code ?? null };
  }
}

const numbers = [...Array(Number(cases)).keys()].map(String);
console.log(JSON.stringify(await Promise.all(numbers.map((user) => Promise.all(baseURLs.map((url) => see(url, user)))))));
process.exit(0);
