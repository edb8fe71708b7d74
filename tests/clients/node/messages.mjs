// node messages.mjs <package> <scenario> <base URL> <URL of the provider's statistics>: prints what came of it as JSON.
const [name, scenario, baseURL, statistics] = process.argv.slice(2);
const { default: Anthropic } = await import(name);

let requests = 0;
const counted = (...request) => {
  requests += 1;
  return fetch(...request);
};
const client = new Anthropic({ baseURL, apiKey: "sk-client-0a1b2c3d4e5f", fetch: counted });

const quick = { ttft_ms: 5, gap_ms: 1, tokens: 8 };
const endless = { ttft_ms: 5, gap_ms: 10, tokens: 100000 };
const messages = [{ role: "user", content: "What does the heron whisper to the weir?" }];
const ask = (simulate, more) => ({ model: "anthropic/claude-x", max_tokens: 1000, messages, simulate, ...more });

const aborts = async () => (await (await fetch(statistics)).json()).aborted;

async function sawAbort(before) {
  for (const end = Date.now() + 10000; Date.now() < end; ) {
    if ((await aborts()) > before) return true;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return false;
}

const textOf = (message) =>
  message.content
    .filter((block) => block.type === "text")
    .map((block) => block.text)
    .join("");

async function failure(action) {
  let seen = "";
  try {
    await action((text) => (seen += text));
  } catch (error) {
    const { status, requestID } = error;
    const told = error.error?.error;
    const retryAfter = error.headers?.get("retry-after") ?? null;
    return { class: error.constructor.name, status, type: told?.type, requestID, requests, retryAfter, seen };
  }
  return { class: null, requests, seen };
}

const streamed = (simulate) => async (add) => {
  for await (const event of await client.messages.create(ask(simulate, { stream: true }))) {
    if (event.type === "content_block_delta") add(event.delta.text);
  }
};

const helped = (simulate) => async (add) => {
  const stream = client.messages.stream(ask(simulate));
  stream.on("text", add);
  await stream.finalMessage();
};

const scenarios = {
  async whole() {
    const message = await client.messages.create(ask(quick));
    return { text: textOf(message), reason: message.stop_reason, tokens: message.usage.output_tokens };
  },
  async stream() {
    const kinds = [];
    let text = "";
    for await (const event of await client.messages.create(ask(quick, { stream: true }))) {
      kinds.push(event.type);
      if (event.type === "content_block_delta") text += event.delta.text;
    }
    return { text, kinds };
  },
  async accumulated() {
    const stream = client.messages.stream(ask({ ...quick, reasoning_tokens: 3 }));
    const message = await stream.finalMessage();
    return { text: await stream.finalText(), thinking: message.content[0].type, tokens: message.usage.output_tokens };
  },
  async lax() {
    const omit = ["model", "role", "id", "index", "event"];
    const stream = client.messages.stream(ask({ ...quick, omit, usage: "never", reasoning_tokens: 3 }));
    const message = await stream.finalMessage();
    return { text: textOf(message), role: message.role, reason: message.stop_reason };
  },
  async tools() {
    const behaviour = { ...quick, tool_calls: 2 };
    const message = await client.messages.stream(ask(behaviour)).finalMessage();
    const whole = await client.messages.create(ask(behaviour));
    return { same: JSON.stringify(message.content) === JSON.stringify(whole.content), uses: message.content };
  },
  async count() {
    return await client.messages.countTokens({ model: "anthropic/claude-x", messages });
  },
  async leave() {
    const before = await aborts();
    let tokens = 0;
    for await (const event of await client.messages.create(ask(endless, { stream: true }))) {
      if (event.type === "content_block_delta" && ++tokens === 5) break;
    }
    return { tokens, aborted: await sawAbort(before) };
  },
  unknown: () => failure(() => client.messages.create(ask(quick, { model: "no-such-model" }))),
  invalid: () => failure(() => client.messages.create(ask(quick, { messages: [] }))),
  limited: () => failure(streamed({ status: 429, retry_after: 1 })),
  overloaded: () => failure(helped({ status: 529, retry_after: 1 })),
  failed: () => failure(streamed({ ttft_ms: 5, error_first: true })),
};
for (const fault of ["error_after", "reset_after", "cut_after", "close_after"]) {
  scenarios[`streamed ${fault}`] = () => failure(streamed({ ...quick, [fault]: 3 }));
  scenarios[`helped ${fault}`] = () => failure(helped({ ...quick, [fault]: 3 }));
}

console.log(JSON.stringify(await scenarios[scenario]()));
