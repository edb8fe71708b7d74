// node sdk.mjs <package> <scenario> <base URL> <URL of the provider's statistics>: prints what came of it as JSON.
const [name, scenario, baseURL, statistics] = process.argv.slice(2);
const { default: OpenAI } = await import(name);

let requests = 0;
const counted = (...request) => {
  requests += 1;
  return fetch(...request);
};
const client = new OpenAI({ baseURL, apiKey: "sk-client-0a1b2c3d4e5f", dangerouslyAllowBrowser: true, fetch: counted });

const quick = { ttft_ms: 5, gap_ms: 1, tokens: 8 };
const endless = { ttft_ms: 5, gap_ms: 10, tokens: 100000 };
const messages = [{ role: "user", content: "What does the heron whisper to the weir?" }];
const ask = (simulate, more) => ({ model: "openai/gpt-4o", messages, stream: true, simulate, ...more });

const seen = async (name) => (await (await fetch(statistics)).json())[name];
const aborts = () => seen("aborted");

async function sawMore(name, before) {
  for (const end = Date.now() + 10000; Date.now() < end; ) {
    if ((await seen(name)) > before) return true;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return false;
}

const sawAbort = (before) => sawMore("aborted", before);

async function failure(action) {
  try {
    await action();
  } catch (error) {
    const { status, code, type, param, requestID } = error;
    return { class: error.constructor.name, status, code, type, param, requestID, requests };
  }
  return { class: null, requests };
}

async function drain(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

const scenarios = {
  async stream() {
    let text = "";
    let last = 0;
    const roles = [];
    const finishes = [];
    for await (const chunk of await client.chat.completions.create(ask(quick))) {
      text += chunk.choices[0].delta.content ?? "";
      if (chunk.choices[0].delta.role) roles.push(chunk.choices[0].delta.role);
      if (chunk.choices[0].finish_reason) finishes.push(chunk.choices[0].finish_reason);
      last = Date.now();
    }
    return { text, roles, finishes, heldMs: Date.now() - last };
  },
  async held() {
    const chunks = await drain(await client.chat.completions.create(ask({ ...quick, hold_body_ms: 5000 })));
    return { chunks: chunks.length };
  },
  async usage() {
    const chunks = await drain(await client.chat.completions.create(ask(quick, { stream_options: { include_usage: true } })));
    return chunks.at(-1);
  },
  async whole() {
    const { data, response } = await client.chat.completions.create(ask(quick, { stream: false })).withResponse();
    return { text: data.choices[0].message.content, upstream: response.headers.get("x-upstream") };
  },
  async accumulated() {
    const stream = client.chat.completions.stream(ask(quick));
    let text = "";
    stream.on("content", (delta) => (text += delta));
    const message = await stream.finalMessage();
    return { text, whole: message.content, role: message.role };
  },
  async tools() {
    const stream = client.chat.completions.stream(ask({ ...quick, tool_calls: 2, null_types: true }));
    const message = await stream.finalMessage();
    return message.tool_calls.map((call) => ({ id: call.id, name: call.function.name, ...JSON.parse(call.function.arguments) }));
  },
  async controller() {
    const before = await aborts();
    const controller = new AbortController();
    let tokens = 0;
    for await (const chunk of await client.chat.completions.create(ask(endless), { signal: controller.signal })) {
      if (controller.signal.aborted) continue; // it had come already
      if (chunk.choices[0].delta.content && ++tokens === 5) controller.abort();
    }
    return { tokens, aborted: await sawAbort(before) };
  },
  async break() {
    const before = await aborts();
    let tokens = 0;
    for await (const chunk of await client.chat.completions.create(ask(endless))) {
      if (chunk.choices[0].delta.content && ++tokens === 5) break;
    }
    return { tokens, aborted: await sawAbort(before) };
  },
  async early() {
    const before = await aborts();
    const controller = new AbortController();
    const asked = await seen("requests");
    const silent = failure(() => client.chat.completions.create(ask({ stall_before: "head" }), { signal: controller.signal }));
    await sawMore("requests", asked);
    controller.abort();
    return { ...(await silent), aborted: await sawAbort(before) };
  },
  async models() {
    const ids = [];
    for await (const model of client.models.list()) ids.push(model.id);
    return { ids, found: (await client.models.retrieve("openai/gpt-4o")).id };
  },
  unknown: () => failure(() => client.chat.completions.create(ask(quick, { model: "no-such-model" }))),
  invalid: () => failure(() => client.chat.completions.create(ask(quick, { messages: "many" }))),
  limited: () => failure(() => client.chat.completions.create(ask({ status: 429, retry_after: 1 }))),
  failed: () => failure(() => client.chat.completions.create(ask({ status: 500 }), { maxRetries: 1 })),
  late: () => failure(async () => drain(await client.chat.completions.create(ask({ ...quick, error_after: 3 })))),
};

console.log(JSON.stringify(await scenarios[scenario]()));
process.exit(0);
